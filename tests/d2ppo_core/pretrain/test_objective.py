from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from d2ppo_core.config import PretrainConfig
from d2ppo_core.losses.denoising import denoising_loss
from d2ppo_core.losses.dispersive import dispersive_loss
from d2ppo_core.models.build import Shapes, build_policy
from d2ppo_core.models.diffusion import DiffusionPolicy
from d2ppo_core.pretrain.batches import Batch
from d2ppo_core.pretrain.objective import objective

Build = Callable[..., PretrainConfig]
TAPS = ("encoder", "early", "mid", "late")


def infonce_l2(z: Tensor, form: str = "scale_free") -> Tensor:
    return dispersive_loss(z, "infonce_l2", form=form)


@pytest.fixture
def policy(tiny_config: Build) -> DiffusionPolicy:
    torch.manual_seed(0)
    return build_policy(tiny_config(images=True), Shapes(state_dim=9, action_dim=7, num_cameras=1, image_hw=(24, 24)))


@pytest.fixture
def state_policy(tiny_config: Build) -> DiffusionPolicy:
    torch.manual_seed(0)
    return build_policy(tiny_config(), Shapes(state_dim=9, action_dim=7))


def batch(samples: int = 2, *, images: bool = True) -> Batch:
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (8, 1, 24, 24, 3), dtype=torch.uint8, generator=generator)
    rows = 8 * samples
    return Batch(
        state=torch.randn(8, 9, generator=generator),
        images=pictures if images else None,
        chunks=torch.rand(rows, 28, generator=generator),
        eps=torch.randn(rows, 28, generator=generator),
        t=torch.randint(20, (rows,), generator=generator),
    )


def forward(policy: DiffusionPolicy, drawn: Batch, images: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
    """Predicted noise and taps by the plain network."""
    condition = policy.encode(drawn.state, images)
    repeated = condition.repeat_interleave(len(drawn.t) // 8, 0)
    eps, taps = policy.denoiser(policy.add_noise(drawn.chunks, drawn.eps, drawn.t), drawn.t, repeated)
    return eps, {"encoder": condition, **taps}


@pytest.mark.parametrize("tap", TAPS)
def test_total_adds_the_weighted_dispersive_term_of_the_chosen_tap(
    policy: DiffusionPolicy, tiny_config: Build, tap: str
) -> None:
    drawn = batch()
    result = objective(policy, drawn, tiny_config(images=True), tap=tap, weight=0.3)
    eps, taps = forward(policy, drawn, drawn.images)
    torch.testing.assert_close(result.denoising, denoising_loss(eps, drawn.eps))
    torch.testing.assert_close(result.features, taps[tap])
    torch.testing.assert_close(result.dispersive, infonce_l2(taps[tap]))
    torch.testing.assert_close(result.total, result.denoising + 0.3 * result.dispersive)


@pytest.mark.parametrize("tap", ["", "encoder", "early", "mid", "late"])
def test_the_gradient_does_not_depend_on_the_arithmetic_that_the_tap_allows(
    policy: DiffusionPolicy, tiny_config: Build, tap: str
) -> None:
    drawn, parameters = batch(), list(policy.parameters())
    total = objective(policy, drawn, tiny_config(images=True), tap=tap, weight=0.3).total
    eps, taps = forward(policy, drawn, drawn.images)
    wanted = denoising_loss(eps, drawn.eps) + (0.3 * infonce_l2(taps[tap]) if tap else 0.0)
    for got, plain in zip(torch.autograd.grad(total, parameters), torch.autograd.grad(wanted, parameters), strict=True):
        torch.testing.assert_close(got, plain, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("tap", TAPS)
def test_every_tap_comes_of_the_pass_that_the_noise_loss_takes(
    policy: DiffusionPolicy, tiny_config: Build, tap: str
) -> None:
    passes: list[int] = []
    policy.encoder.register_forward_hook(lambda *_: passes.append(1))
    result = objective(policy, batch(), tiny_config(images=True), tap=tap, weight=0.5)
    assert len(passes) == 1 and result.features is not None


@pytest.mark.parametrize("tap", ["early", "mid", "late"])
def test_blind_to_time_it_compares_pairs_of_one_time_step_only(
    policy: DiffusionPolicy, tiny_config: Build, tap: str
) -> None:
    drawn, config = batch(), tiny_config(images=True, loss={"dispersive_equal_t": True, "dispersive_tap": tap})
    drawn = replace(drawn, t=drawn.t % 3)
    _, taps = forward(policy, drawn, drawn.images)
    found = objective(policy, drawn, config, tap=tap, weight=0.3).dispersive
    torch.testing.assert_close(found, dispersive_loss(taps[tap], "infonce_l2", groups=drawn.t))
    moved = taps[tap] + torch.randn(3, 32)[drawn.t]  # each time step may go where it likes
    torch.testing.assert_close(dispersive_loss(moved, "infonce_l2", groups=drawn.t), found, rtol=1e-4, atol=1e-5)


def nearly_alike(scale: float) -> Batch:
    """The same observation eight times, but for differences of the state of this size."""
    drawn = batch(1)
    assert drawn.images is not None
    return replace(
        drawn,
        state=drawn.state[:1] + scale * torch.randn(8, 9, generator=torch.Generator().manual_seed(5)),
        images=drawn.images[:1].expand(8, -1, -1, -1, -1),
    )


@pytest.mark.parametrize(("form", "pulls"), [("scale_free", True), ("batch_max", True), ("raw", False)])
def test_at_the_encoder_look_alikes_are_pushed_apart_however_alike(
    policy: DiffusionPolicy, tiny_config: Build, form: str, pulls: bool
) -> None:
    config = tiny_config(images=True, loss={"dispersive_form": form, "noise_samples_per_obs": 1})
    norms = []
    for scale in (1.0, 1e-2):
        result = objective(policy, nearly_alike(scale), config, tap="encoder", weight=0.5)
        assert result.features is not None
        (gradient,) = torch.autograd.grad(result.dispersive, result.features)
        spread = (result.features - result.features.mean(0)).norm()
        norms.append(
            float((gradient.norm() * spread).detach())
        )  # how much a common relative step would change the loss
    assert all(0 < norm < 10 for norm in norms)
    assert (norms[1] > 0.3 * norms[0]) == pulls


def test_identical_observations_are_the_worst_that_there_is_and_harmless(
    policy: DiffusionPolicy, tiny_config: Build
) -> None:
    config = tiny_config(images=True, loss={"noise_samples_per_obs": 1})
    result = objective(policy, nearly_alike(0.0), config, tap="encoder", weight=0.5)
    assert float(result.dispersive.detach()) == pytest.approx(0.0, abs=1e-3)  # of -log 8 ... 0; apart it is far below
    assert float(objective(policy, batch(1), config, tap="encoder", weight=0.5).dispersive.detach()) < -0.5
    gradients = torch.autograd.grad(result.dispersive, list(policy.encoder.parameters()))
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_without_the_term_only_the_noise_loss_is_left(policy: DiffusionPolicy, tiny_config: Build) -> None:
    result = objective(policy, batch(), tiny_config(images=True), tap="", weight=0.0)
    assert result.features is None and result.dispersive == 0 and torch.equal(result.total, result.denoising)


def official(tiny_config: Build, tap: str, *, images: bool = True) -> PretrainConfig:
    return tiny_config(
        images=images, loss={"dispersive_tap": tap, "dispersive_form": "published", "noise_samples_per_obs": 1}
    )


@pytest.mark.parametrize("tap", ["early", "mid", "late"])
def test_official_taps_a_second_pass_that_sees_the_images_shifted_otherwise(
    policy: DiffusionPolicy, tiny_config: Build, tap: str
) -> None:
    drawn = batch(1)
    assert drawn.images is not None
    drawn = replace(drawn, images_again=drawn.images.flip(2))
    result = objective(policy, drawn, official(tiny_config, tap), tap=tap, weight=0.3)
    first, _ = forward(policy, drawn, drawn.images)
    eps, taps = forward(policy, drawn, drawn.images_again)
    hook = taps["late"] if tap == "early" else eps
    torch.testing.assert_close(result.features, hook)
    torch.testing.assert_close(result.dispersive, infonce_l2(hook, "published"))
    torch.testing.assert_close(result.denoising, denoising_loss(first, drawn.eps))


def test_official_needs_one_pass_where_a_second_one_would_repeat_it(
    state_policy: DiffusionPolicy, tiny_config: Build
) -> None:
    drawn, passes = batch(1, images=False), []
    state_policy.denoiser.input.register_forward_hook(lambda *_: passes.append(1))
    result = objective(state_policy, drawn, official(tiny_config, "mid", images=False), tap="mid", weight=0.3)
    assert len(passes) == 1
    torch.testing.assert_close(result.features, forward(state_policy, drawn, None)[0])


def test_the_encoder_term_reaches_the_images(policy: DiffusionPolicy, tiny_config: Build) -> None:
    result = objective(policy, batch(), tiny_config(images=True), tap="encoder", weight=0.5)
    result.dispersive.backward()
    gradients = [p.grad for p in policy.encoder.parameters()]
    assert all(g is not None and g.abs().max() > 0 for g in gradients)
    assert policy.denoiser.output.weight.grad is None


def test_half_precision_encoding_stays_close_and_returns_float32_losses(
    policy: DiffusionPolicy, tiny_config: Build
) -> None:
    half = tiny_config(images=True, optim={"precision": "bfloat16"})
    exact = objective(policy, batch(), tiny_config(images=True), tap="encoder", weight=0.5)
    fast = objective(policy, batch(), half, tap="encoder", weight=0.5)
    assert fast.total.dtype == torch.float32
    assert fast.denoising.item() == pytest.approx(exact.denoising.item(), rel=0.02)
