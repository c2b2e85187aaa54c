"""Figures of held-out data, checked on policies whose answers are known."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from d2ppo_core.config import PretrainConfig
from d2ppo_core.data.windows import load_windows
from d2ppo_core.models.build import Shapes, build_policy
from d2ppo_core.models.policy import ChunkPolicy
from d2ppo_core.pretrain import first_layer
from d2ppo_core.pretrain.batches import Batch, Tensors
from d2ppo_core.pretrain.trainer import Trainer
from d2ppo_core.pretrain.validation import NUDGE, action_error, sensitivity

Build = Callable[..., PretrainConfig]


class Linear(ChunkPolicy):
    """Answers every state with a fixed multiple of its first numbers, whatever the noise."""

    def __init__(self, like: ChunkPolicy, gain: float, offset: float = 0.0) -> None:
        super().__init__(encoder=like.encoder, pred_horizon=1, action_dim=19)
        self.gain, self.offset = gain, offset

    @property
    def trunk(self) -> torch.nn.Module:
        return self

    def sample(self, state, images, noise):
        return (self.gain * state + self.offset).reshape(noise.shape)


@pytest.fixture
def policy(tiny_config: Build) -> ChunkPolicy:
    torch.manual_seed(0)
    return build_policy(tiny_config(), Shapes(state_dim=19, action_dim=7))


def held_out(count: int = 300, chunk: int = 28) -> Tensors:
    generator = torch.Generator().manual_seed(3)
    state = torch.rand(count, 19, generator=generator) - 0.5
    return Tensors(state=state, chunks=torch.zeros(count, chunk), images=None)


def test_sensitivity_is_the_gain_of_a_linear_policy(policy: ChunkPolicy) -> None:
    assert sensitivity(Linear(policy, 0.75), held_out()) == pytest.approx(0.75, rel=1e-4)
    assert sensitivity(Linear(policy, 0.0, offset=0.3), held_out()) == 0


def test_the_action_error_is_the_mean_distance_to_the_demonstration(policy: ChunkPolicy) -> None:
    assert action_error(Linear(policy, 0.0, offset=-0.3), held_out(chunk=19)) == pytest.approx(0.3, rel=1e-5)


def test_sensitivity_of_a_denoising_policy_is_a_difference_of_its_own_chunks(policy: ChunkPolicy) -> None:
    data = held_out(count=40)
    found = sensitivity(policy, data)
    assert found == sensitivity(policy, data) > 0
    generator = torch.Generator().manual_seed(20_240)
    noise = torch.randn(40, 4, 7, generator=generator)
    direction = torch.randn(40, 19, generator=generator)
    moved = data.state + NUDGE * direction / direction.norm(dim=1, keepdim=True)
    alone = [[policy.sample(o[i : i + 1], None, noise[i : i + 1]) for i in range(40)] for o in (data.state, moved)]
    ratios = [(after - before).norm() / NUDGE for before, after in zip(*alone, strict=True)]
    assert found == pytest.approx(float(torch.stack(ratios).mean()), rel=1e-3)


@pytest.mark.parametrize("images", [False, True])
def test_a_trainer_validates_on_held_out_windows_and_listens_without_them(
    dataset: Path, tiny_config: Build, images: bool
) -> None:
    config = tiny_config(images=images, data={"validation_episodes": 1})
    windows, rest = load_windows(dataset, config.data)
    trainer = Trainer(config, windows, rest, {"sha256": "0"})
    found = trainer.validate()
    assert found == trainer.validate() and all(value > 0 for value in found.values())
    held_out = {"losses/validation", "validation/action_error"}
    assert set(found) == {"validation/sensitivity", *first_layer.COLUMNS, *held_out}
    assert set(Trainer(config, windows, None, {"sha256": "0"}).validate()) == set(found) - held_out


def test_the_first_layers_shares_are_those_of_its_parts(policy: ChunkPolicy) -> None:
    data = held_out(count=64)
    generator = torch.Generator().manual_seed(2)
    t, eps = torch.randint(20, (64,), generator=generator), torch.randn(64, 28, generator=generator)
    batch = Batch(state=data.state, images=None, chunks=data.chunks, eps=eps, t=t)
    found = first_layer.first_layer(policy, batch)
    net = policy.denoiser  # type: ignore[attr-defined]
    early = net.input(torch.cat([policy.add_noise(data.chunks, eps, t), net.time(t), data.state], dim=1))  # type: ignore[attr-defined]
    assert found["first_layer/rms"] == pytest.approx(float((early - early.mean(0)).square().mean().sqrt()), rel=1e-5)
    with torch.no_grad():  # a layer that hears nothing but the time
        net.input.weight[:, :28], net.input.weight[:, -19:] = 0, 0
    alone = first_layer.first_layer(policy, batch)
    assert alone["first_layer/time_share"] == pytest.approx(1.0) and alone["first_layer/observation_share"] == 0
