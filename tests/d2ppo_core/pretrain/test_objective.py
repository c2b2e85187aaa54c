from collections.abc import Callable

import pytest
import torch

from d2ppo_core.config import PretrainConfig
from d2ppo_core.losses.dispersive import infonce_l2
from d2ppo_core.models.build import Shapes, build_policy
from d2ppo_core.models.diffusion import DiffusionPolicy
from d2ppo_core.pretrain.batches import Batch
from d2ppo_core.pretrain.objective import dispersion_scalars, objective


@pytest.fixture
def policy(tiny_config: Callable[..., PretrainConfig]) -> DiffusionPolicy:
    torch.manual_seed(0)
    return build_policy(tiny_config(images=True), Shapes(state_dim=9, action_dim=7, num_cameras=1, image_hw=(24, 24)))


def batch(*, same_observation: bool = False) -> Batch:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (8, 1, 24, 24, 3), dtype=torch.uint8, generator=generator)
    state = torch.randn(8, 9, generator=generator)
    if same_observation:
        images, state = images[:1].expand(8, -1, -1, -1, -1), state[:1].expand(8, -1)
    return Batch(
        state=state,
        images=images,
        chunks=torch.rand(16, 28, generator=generator),
        eps=torch.randn(16, 28, generator=generator),
        t=torch.randint(20, (16,), generator=generator),
    )


@pytest.mark.parametrize("tap", ["encoder", "early", "mid", "late"])
def test_total_adds_the_weighted_dispersive_term_of_the_chosen_tap(
    policy: DiffusionPolicy, tiny_config: Callable[..., PretrainConfig], tap: str
) -> None:
    config = tiny_config(images=True, loss={"dispersive_tap": tap, "dispersive_weight": 0.3})
    result = objective(policy, batch(), config)
    torch.testing.assert_close(result.dispersive, infonce_l2(result.taps[tap]))
    torch.testing.assert_close(result.total, result.denoising + 0.3 * result.dispersive)


def test_the_official_switch_taps_the_predicted_noise_without_dividing_by_the_width(
    policy: DiffusionPolicy, tiny_config: Callable[..., PretrainConfig]
) -> None:
    drawn = batch()
    loss = {"dispersive_tap": "mid", "official": True}
    result = objective(policy, drawn, tiny_config(images=True, loss=loss))
    condition = policy.encode(drawn.state, drawn.images).repeat_interleave(2, 0)
    eps, _ = policy.denoiser(policy.add_noise(drawn.chunks, drawn.eps, drawn.t), drawn.t, condition)
    torch.testing.assert_close(result.dispersive, infonce_l2(eps, per_dimension=False))


def test_identical_observations_collapse_at_the_encoder_and_look_dispersed_behind_it(
    policy: DiffusionPolicy, tiny_config: Callable[..., PretrainConfig]
) -> None:
    config = tiny_config(images=True)
    scalars = dispersion_scalars(objective(policy, batch(same_observation=True), config), config)
    assert scalars["dispersion/encoder_distance"] < 1e-3 < 1e-2 < scalars["dispersion/mid_distance"]


def test_the_encoder_term_reaches_the_images(
    policy: DiffusionPolicy, tiny_config: Callable[..., PretrainConfig]
) -> None:
    result = objective(policy, batch(), tiny_config(images=True))
    result.dispersive.backward()
    gradients = [p.grad for p in policy.encoder.parameters()]
    assert all(g is not None and g.abs().max() > 0 for g in gradients)
    assert policy.denoiser.output.weight.grad is None


def test_half_precision_encoding_stays_close_and_returns_float32_losses(
    policy: DiffusionPolicy, tiny_config: Callable[..., PretrainConfig]
) -> None:
    exact = objective(policy, batch(), tiny_config(images=True))
    fast = objective(policy, batch(), tiny_config(images=True, optim={"precision": "bfloat16"}))
    assert fast.total.dtype == torch.float32
    assert fast.denoising.item() == pytest.approx(exact.denoising.item(), rel=0.02)
