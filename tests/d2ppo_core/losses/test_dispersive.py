import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from d2ppo_core.losses import dispersive
from d2ppo_core.losses.dispersive import (
    covariance,
    dispersion,
    dispersive_loss,
    effective_rank,
    infonce_cosine,
    scale_free,
)

BATCH, DIM = 12, 5


def infonce_l2(z: Tensor, temperature: float = 0.5, *, per_dimension: bool = True) -> Tensor:
    form = "raw" if per_dimension else "published"
    return dispersive_loss(z, "infonce_l2", form=form, temperature=temperature)


def hinge(z: Tensor, margin: float = 1.0) -> Tensor:
    return dispersive_loss(z, "hinge", form="raw", margin=margin)


def features(batch: int = BATCH, dim: int = DIM) -> Tensor:
    return torch.randn(batch, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def pairs(z: Tensor) -> list[tuple[Tensor, Tensor]]:
    return [(a, b) for a in z for b in z]


def brute_infonce_l2(z: Tensor) -> float:
    terms = [math.exp(-float((a - b).square().sum()) / len(a) / 0.5) for a, b in pairs(z)]
    return math.log(sum(terms) / len(terms))


def brute_infonce_cosine(z: Tensor) -> float:
    terms = [math.exp(float(a @ b / (a.norm() * b.norm())) / 0.5) for a, b in pairs(z)]
    return math.log(sum(terms) / len(terms))


def brute_hinge(z: Tensor) -> float:
    terms = [max(0.0, 1.0 - float((a - b).square().sum()) / len(a)) ** 2 for a, b in pairs(z)]
    return sum(terms) / len(terms)


def brute_covariance(z: Tensor) -> float:
    cov = torch.cov(z.T)
    return sum(float(cov[i, j]) ** 2 for i in range(DIM) for j in range(DIM) if i != j)


CASES = [
    (infonce_l2, brute_infonce_l2),
    (infonce_cosine, brute_infonce_cosine),
    (hinge, brute_hinge),
    (covariance, brute_covariance),
]


@pytest.mark.parametrize(("loss", "brute"), CASES)
def test_loss_equals_brute_force_in_float64(loss: Callable[[Tensor], Tensor], brute: Callable[[Tensor], float]) -> None:
    assert float(loss(features())) == pytest.approx(brute(features()), rel=1e-9)


@pytest.mark.parametrize("loss", [case[0] for case in CASES])
def test_gradient_is_the_numerical_one(loss: Callable[[Tensor], Tensor]) -> None:
    assert torch.autograd.gradcheck(loss, features(6, 4).requires_grad_())


@pytest.mark.parametrize("loss", [case[0] for case in CASES])
def test_order_of_the_batch_does_not_matter(loss: Callable[[Tensor], Tensor]) -> None:
    z = features()
    shuffled = z[torch.randperm(BATCH, generator=torch.Generator().manual_seed(1))]
    assert float(loss(shuffled)) == pytest.approx(float(loss(z)), rel=1e-12)


@pytest.mark.parametrize("loss", [case[0] for case in CASES[:3]])
def test_descending_pushes_features_apart(loss: Callable[[Tensor], Tensor]) -> None:
    z = (0.1 * features()).requires_grad_()
    before = dispersion(z)[0]
    (gradient,) = torch.autograd.grad(loss(z), z)
    assert dispersion(z - 0.01 * gradient / gradient.norm())[0] > before


@pytest.mark.parametrize("dim", [512, 768])
def test_gradient_is_alive_at_ordinary_widths_with_the_division_and_dead_without(dim: int) -> None:
    z = torch.randn(256, dim, generator=torch.Generator().manual_seed(0)).requires_grad_()
    (alive,) = torch.autograd.grad(infonce_l2(z), z)
    (dead,) = torch.autograd.grad(infonce_l2(z, per_dimension=False), z)
    assert alive.norm() > 1e-4
    assert dead.norm() == 0.0


def test_infonce_lies_between_the_floor_and_zero() -> None:
    assert float(infonce_l2(torch.zeros(8, 4))) == pytest.approx(0.0, abs=1e-7)
    assert float(infonce_l2(1e3 * torch.randn(8, 4))) == pytest.approx(-math.log(8), abs=1e-6)


def test_distances_of_far_away_features_keep_their_precision() -> None:
    z = torch.randn(16, 32) + 1000.0
    exact = torch.cdist(z.double(), z.double()).square() / 32
    torch.testing.assert_close(dispersive.squared_distances(z).double(), exact, atol=1e-3, rtol=1e-3)


def test_bfloat16_features_are_computed_in_float32_under_autocast() -> None:
    z = torch.randn(32, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = infonce_l2(z)
    assert loss.dtype == torch.float32 and float(loss) == pytest.approx(float(infonce_l2(z)), rel=1e-6)


def test_identical_features_do_not_give_nan_gradients() -> None:
    z = torch.ones(4, 8, requires_grad=True)
    for variant in ("infonce_l2", "infonce_cosine", "hinge", "covariance"):
        for form in ("scale_free", "raw", "published"):
            (gradient,) = torch.autograd.grad(dispersive_loss(z, variant, form=form), z)
            assert torch.isfinite(gradient).all(), (variant, form)


def test_switched_off_it_is_zero() -> None:
    assert float(dispersive_loss(torch.randn(4, 4), "none")) == 0.0


def test_unknown_variants_and_single_features_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown dispersive loss 'l1'"):
        dispersive_loss(torch.randn(4, 4), "l1")
    with pytest.raises(ValueError, match=r"B >= 2, got \(1, 4\)"):
        infonce_l2(torch.randn(1, 4))


def published(z: Tensor, variant: str) -> float:
    """The published formulas, pair by pair: plain squared distances, covariances with their diagonal."""
    distances = [float((a - b).square().sum()) for a, b in pairs(z)]
    if variant == "infonce_l2":
        return math.log(sum(math.exp(-d / 0.5) for d in distances) / len(distances))
    if variant == "infonce_cosine":
        return brute_infonce_cosine(z)
    if variant == "hinge":
        return sum(max(0.0, 1.0 - d) ** 2 for d in distances) / len(distances)
    return float(torch.cov(z.T).square().sum())


@pytest.mark.parametrize("variant", ["infonce_l2", "infonce_cosine", "hinge", "covariance"])
def test_the_official_switch_gives_the_published_formulas(variant: str) -> None:
    z = 0.2 * features()
    assert float(dispersive_loss(z, variant, form="published")) == pytest.approx(published(z, variant), rel=1e-9)


def test_the_names_reach_their_losses_with_their_parameters() -> None:
    z = features()
    assert not torch.equal(infonce_l2(z, 0.3), infonce_l2(z))
    raw = dispersive_loss(z, "infonce_cosine", form="raw", temperature=0.3)
    assert torch.equal(raw, infonce_cosine(z, 0.3))
    centred = dispersive_loss(z, "infonce_cosine", temperature=0.3)
    assert torch.equal(centred, infonce_cosine(scale_free(z), 0.3)) and not torch.equal(raw, centred)
    assert not torch.equal(hinge(z, 2.0), hinge(z))
    assert torch.equal(dispersive_loss(z, "covariance", form="raw"), covariance(z))


VARIANTS = ("infonce_l2", "infonce_cosine", "hinge", "covariance")
TIMES = torch.tensor([0, 1, 2] * 4)


def along(z: Tensor, direction: Tensor, variant: str, **options: object) -> float:
    """Derivative of a loss along a unit direction, as a share of its gradient."""
    z = z.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(dispersive_loss(z, variant, **options), z)  # type: ignore[arg-type]
    assert gradient.norm() > 1e-6
    return float((gradient * direction).sum().abs() / direction.norm() / gradient.norm())


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("groups", [None, TIMES], ids=["all pairs", "equal t"])
@pytest.mark.parametrize("scale", [0.05, 7.0, 1e4])
def test_the_scale_free_form_does_not_change_with_scale_or_offset(
    variant: str, groups: Tensor | None, scale: float
) -> None:
    z = features()
    wanted = float(dispersive_loss(z, variant, groups=groups))
    assert float(dispersive_loss(scale * z + 3.0, variant, groups=groups)) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_scale_free_form_pulls_neither_along_the_scale_nor_along_a_common_offset(variant: str) -> None:
    z = features()
    centred, offset = z - z.mean(0), torch.ones(BATCH, 1, dtype=z.dtype) * torch.randn(DIM, dtype=z.dtype)
    assert along(z, centred, variant) < 1e-9 and along(z, offset, variant) < 1e-9
    assert along(z, centred, "infonce_l2", form="raw") > 0.1  # the way that makes features grow


def test_blind_to_time_there_is_no_pull_along_the_offset_of_a_time_step() -> None:
    z = features()
    offset = torch.randn(3, DIM, dtype=z.dtype)[TIMES]
    assert along(z + offset, offset, "infonce_l2", groups=TIMES) < 1e-9
    assert along(z + offset, offset, "infonce_l2") > 0.01
    moved = dispersive_loss(z + 10 * offset, "infonce_l2", groups=TIMES)
    assert float(moved) == pytest.approx(float(dispersive_loss(z, "infonce_l2", groups=TIMES)), rel=1e-9)


def test_only_pairs_of_a_group_count() -> None:
    z = scale_free(features(), TIMES)
    among = [(i, j) for i in range(BATCH) for j in range(BATCH) if TIMES[i] == TIMES[j]]
    terms = [math.exp(-float((z[i] - z[j]).square().sum()) / DIM / 0.5) for i, j in among]
    wanted = math.log(sum(terms) / len(terms))
    assert float(dispersive_loss(features(), "infonce_l2", groups=TIMES)) == pytest.approx(wanted, rel=1e-9)
    squares = [max(0.0, 1.0 - float((z[i] - z[j]).square().sum()) / DIM) ** 2 for i, j in among]
    found = float(dispersive_loss(features(), "hinge", groups=TIMES))
    assert found == pytest.approx(sum(squares) / len(squares), rel=1e-9)


def test_divided_by_their_largest_distances_lie_between_zero_and_one_and_scale_is_no_way_apart() -> None:
    z = features()
    distances = [float((a - b).square().sum()) for a, b in pairs(z)]
    wanted = math.log(sum(math.exp(-d / max(distances)) for d in distances) / len(distances))
    found = dispersive_loss(z, "infonce_l2", form="batch_max", temperature=1.0)
    assert float(found) == pytest.approx(wanted, rel=1e-9)
    assert along(z, z - z.mean(0), "infonce_l2", form="batch_max", temperature=1.0) < 1e-9


@pytest.mark.parametrize("form", ["scale_free", "batch_max", "raw", "published"])
@pytest.mark.parametrize("groups", [None, TIMES[:6]], ids=["all pairs", "equal t"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_gradient_of_every_form_is_the_numerical_one(form: str, groups: Tensor | None, variant: str) -> None:
    z = (0.3 * features(6, 4)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: dispersive_loss(x, variant, form=form, groups=groups), z)


@pytest.mark.parametrize("form", ["scale_free", "batch_max"])
def test_equal_features_are_the_worst_case_and_nearly_equal_ones_are_pushed_apart(form: str) -> None:
    z = torch.ones(8, 16, dtype=torch.float64)
    assert float(dispersive_loss(z, "infonce_l2", form=form)) == pytest.approx(0.0, abs=1e-12)
    apart = z + 1e-4 * features(8, 16)
    apart.requires_grad_()
    loss = dispersive_loss(apart, "infonce_l2", form=form)
    (gradient,) = torch.autograd.grad(loss, apart)
    assert float(loss.detach()) < -0.1 and torch.isfinite(gradient).all() and gradient.norm() > 1.0


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown form 'official'"):
        dispersive_loss(features(), "infonce_l2", form="official")


def test_effective_rank_counts_equally_strong_directions() -> None:
    basis = torch.eye(4).repeat(8, 1)
    z = torch.cat([basis, -basis])
    assert effective_rank(z) == pytest.approx(4.0, abs=1e-3)
    assert effective_rank(z.T @ z[:, :2].repeat(1, 16)) < 2.1  # more dimensions than features


def test_equal_features_have_no_distance_and_rank_one() -> None:
    distance, rank = dispersion(torch.ones(6, 4))
    assert distance == 0.0 and rank == pytest.approx(1.0, abs=1e-6)


def test_the_rank_is_that_of_the_singular_values() -> None:
    z = features(20, 30).float()
    spectrum = torch.linalg.svdvals(z - z.mean(0)).double()
    share = spectrum / spectrum.sum()
    assert effective_rank(z) == pytest.approx(float(torch.exp(-(share * share.log()).sum())), rel=1e-4)
