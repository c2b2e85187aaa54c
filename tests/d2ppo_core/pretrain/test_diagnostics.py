from collections.abc import Callable

import pytest
import torch

from d2ppo_core.config import PretrainConfig
from d2ppo_core.losses.dispersive import dispersion, dispersive_loss
from d2ppo_core.models.build import Shapes, build_policy
from d2ppo_core.models.diffusion import DiffusionPolicy
from d2ppo_core.pretrain.batches import Batch, Tensors
from d2ppo_core.pretrain.diagnostics import COLUMNS, dispersion_scalars

Build = Callable[..., PretrainConfig]


def make_policy(config: PretrainConfig) -> DiffusionPolicy:
    torch.manual_seed(0)
    cameras = len(config.data.image_keys)
    return build_policy(config, Shapes(state_dim=9, action_dim=7, num_cameras=cameras, image_hw=(24, 24)))


def make_data(count: int = 8, *, images: bool = True, same: bool = False) -> Tensors:
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (count, 1, 24, 24, 3), dtype=torch.uint8, generator=generator)
    state = torch.randn(count, 9, generator=generator)
    if same:
        pictures, state = pictures[:1].repeat(count, 1, 1, 1, 1), state[:1].repeat(count, 1)
    chunks = torch.rand(count, 28, generator=generator)
    return Tensors(state=state, images=pictures if images else None, chunks=chunks)


def make_batch(data: Tensors) -> Batch:
    generator = torch.Generator().manual_seed(1)
    return Batch(
        state=data.state,
        images=data.images,
        chunks=data.chunks,
        eps=torch.randn(data.chunks.shape, generator=generator),
        t=torch.randint(20, (len(data),), generator=generator),
    )


def test_every_tap_has_loss_gradients_distance_and_rank(tiny_config: Build) -> None:
    config = tiny_config(images=True, loss={"noise_samples_per_obs": 1})
    policy, batch = make_policy(config), make_batch(make_data())
    scalars = dispersion_scalars(policy, batch, config)
    assert set(scalars) == set(COLUMNS)
    condition = policy.encode(batch.state, batch.images)
    _, taps = policy.denoiser(policy.add_noise(batch.chunks, batch.eps, batch.t), batch.t, condition)
    for tap, z in {"encoder": condition, **taps}.items():
        term = dispersive_loss(z, "infonce_l2")
        for part in ("encoder", "denoiser"):
            parameters = list(getattr(policy, part).parameters())
            found = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
            norm = sum(float(g.square().sum()) for g in found if g is not None) ** 0.5
            assert scalars[f"dispersion/{tap}_gradient_{part}"] == pytest.approx(norm, rel=1e-4), (tap, part)
        assert scalars[f"dispersion/{tap}_loss"] == pytest.approx(term.item(), rel=1e-5)
        distance, rank = dispersion(z)
        assert scalars[f"dispersion/{tap}_distance"] == pytest.approx(distance, rel=1e-4)
        assert scalars[f"dispersion/{tap}_rank"] == pytest.approx(rank, rel=1e-3)
    assert scalars["dispersion/encoder_gradient_denoiser"] == 0 < scalars["dispersion/late_gradient_denoiser"]


def test_the_raw_state_of_a_state_policy_pulls_at_nothing(tiny_config: Build) -> None:
    config = tiny_config(loss={"noise_samples_per_obs": 1})
    scalars = dispersion_scalars(make_policy(config), make_batch(make_data(images=False)), config)
    assert scalars["dispersion/encoder_gradient_encoder"] == scalars["dispersion/encoder_gradient_denoiser"] == 0
    assert scalars["dispersion/early_gradient_denoiser"] > 0


def test_identical_observations_collapse_at_the_encoder_and_look_dispersed_behind_it(tiny_config: Build) -> None:
    config = tiny_config(images=True, loss={"noise_samples_per_obs": 1})
    scalars = dispersion_scalars(make_policy(config), make_batch(make_data(same=True)), config)
    assert scalars["dispersion/encoder_distance"] < 1e-3 < 1e-2 < scalars["dispersion/mid_distance"]


def test_without_a_dispersive_loss_distance_and_rank_remain(tiny_config: Build) -> None:
    config = tiny_config(images=True, loss={"noise_samples_per_obs": 1, "dispersive": "none"})
    scalars = dispersion_scalars(make_policy(config), make_batch(make_data()), config)
    assert set(scalars) == {name for name in COLUMNS if name.endswith(("_distance", "_rank"))}
