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
    hinge,
    infonce_cosine,
    infonce_l2,
)

BATCH, DIM = 12, 5


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
        (gradient,) = torch.autograd.grad(dispersive_loss(z, variant), z)
        assert torch.isfinite(gradient).all(), variant


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
    assert float(dispersive_loss(z, variant, official=True)) == pytest.approx(published(z, variant), rel=1e-9)


def test_the_names_reach_their_losses_with_their_parameters() -> None:
    z = features()
    assert torch.equal(dispersive_loss(z, "infonce_l2", temperature=0.3), infonce_l2(z, 0.3))
    assert torch.equal(dispersive_loss(z, "infonce_cosine", temperature=0.3), infonce_cosine(z, 0.3))
    assert torch.equal(dispersive_loss(z, "hinge", margin=2.0), hinge(z, 2.0))
    assert torch.equal(dispersive_loss(z, "covariance"), covariance(z))


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
