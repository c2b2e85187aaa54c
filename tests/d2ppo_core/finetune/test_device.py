"""Fine-tuning on another device, in another precision, compiled."""

import copy
import functools
import math
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from d2ppo_core.envs import AutoresetMode
from d2ppo_core.errors import ConfigError
from d2ppo_core.finetune.experience import Experience, make_experience
from d2ppo_core.finetune.minibatch import Minibatch, minibatches
from d2ppo_core.finetune.ppo import PpoUpdate
from d2ppo_core.finetune.rollout import Rollout
from d2ppo_core.finetune.trainer import Trainer
from d2ppo_core.losses.ppo import normalized
from d2ppo_core.models.build import Shapes, build_chain, build_policy
from d2ppo_core.models.critic import Critic

from .tiny_runs import finetune_config, make_trainer, pretrain_config
from .tiny_task import PointEnv

Origins = Callable[[bool], Path]
OBSERVATIONS, SIDE_PX = 12, 16


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rewarded(trainer: Trainer, chunks: int = 8) -> Rollout:
    """A rollout whose chunks were rewarded at random, so that there is something to learn."""
    rollout = trainer.collector.collect(trainer.chain, chunks=chunks, seed=1)
    return replace(rollout, reward=torch.rand(rollout.reward.shape, generator=seeded(2)).numpy())


@pytest.mark.parametrize("images", [False, True], ids=["state", "image"])
@pytest.mark.parametrize("kind", ["diffusion", "gaussian"])
def test_no_tensor_of_the_update_is_left_on_another_device(
    kind: str, images: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tensors without data stand for a GPU: torch refuses to mix them with those of the CPU."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # knows no such device
    shapes = Shapes(
        state_dim=4, action_dim=7, num_cameras=int(images), image_hw=(SIDE_PX, SIDE_PX) if images else (0, 0)
    )
    config, device = finetune_config(ppo={"bc_weight": 0.1}), torch.device("meta")
    pretraining = pretrain_config(images=images, model={"kind": kind})
    chain = build_chain(build_policy(pretraining, shapes), config.chain, action_horizon=4).to(device)
    critic = Critic(build_policy(pretraining, shapes).encoder, hidden_dim=16, layers=2).to(device)
    update, steps = PpoUpdate(chain, critic, config.ppo), chain.num_steps

    def numbers(*shape: int) -> torch.Tensor:
        return torch.zeros(OBSERVATIONS, *shape, device=device)

    pictures = numbers(1, SIDE_PX, SIDE_PX, 3).byte() if images else None
    experience = Experience(
        state=numbers(4), images=pictures, chain=numbers(steps + 1, 28), log_prob=numbers(steps), advantage=numbers(),
        target=numbers(), value=numbers(),
    )  # fmt: skip
    obs = torch.arange(OBSERVATIONS)
    step = torch.arange(steps).repeat(OBSERVATIONS)
    batch = Minibatch(
        obs=obs, row=obs.repeat_interleave(steps), step=step, weight=torch.ones(len(step)), value_obs=obs
    ).to(device)
    advantage = normalized(experience.advantage[batch.pair_obs]) * update.discount[batch.step]
    loss, _ = update._loss(experience, batch, advantage, actor=True)
    loss.backward()
    assert loss.device == device and all(p.grad is not None for p in update.actor_parameters)
    update.ema.update(chain.policy, 1)
    drawn = chain.sample(experience.state, pictures, seeded())
    errors = chain.cloning_errors(chain.condition(experience.state, pictures), drawn.chain[:, -1], seeded())
    assert drawn.actions.device == drawn.log_prob.device == errors.device == device


def test_encoders_in_bfloat16_round_conditions_and_nothing_behind_them(origins: Origins) -> None:
    exact, half = make_trainer(origins(True)), make_trainer(origins(True), precision="bfloat16")
    state, pictures = torch.randn(6, 2), torch.randint(0, 256, (6, 1, SIDE_PX, SIDE_PX, 3), dtype=torch.uint8)
    one, other = (t.chain.condition(state, pictures) for t in (exact, half))
    assert other.dtype == torch.float32 and not torch.equal(one, other)
    torch.testing.assert_close(one, other, rtol=0.05, atol=0.05)
    for trainer in (exact, half):
        drawn = trainer.chain.sample(state, pictures, seeded())
        assert drawn.log_prob.dtype == torch.float32
        again = trainer.chain.log_prob(
            trainer.chain.condition(state, pictures), drawn.chain[:, 0], drawn.chain[:, 1], torch.zeros(6).long()
        )
        torch.testing.assert_close(again, drawn.log_prob[:, 0])
    values = [t.critic(state, pictures) for t in (exact, half)]
    assert values[1].dtype == torch.float32 and not torch.equal(*values)
    torch.testing.assert_close(*values, rtol=0.05, atol=0.05)
    found = half.update.update(rewarded(half), seeded())
    assert all(math.isfinite(value) for value in found.values())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_compiled_loss_is_the_same_loss(origin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Without the C++ behind it, which takes minutes: what torch captures is what is tested.
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    plain = make_trainer(origin)
    other = make_trainer(origin, compile=True)
    assert other.update._found != other.update._loss
    experience = make_experience(rewarded(plain), plain.critic, plain.update.reward_scale, plain.config.ppo)
    for batch in list(minibatches(len(experience.state), 5, plain.config.ppo, seeded()))[:2]:
        one, two = (t.update.step(experience, batch, actor=True) for t in (plain, other))
        assert one == pytest.approx(two, rel=1e-4, abs=1e-6)
    for a, b in zip(plain.chain.parameters(), other.chain.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


def test_compiling_without_a_compiler_is_refused(origin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ConfigError, match=r"^compile: wanted a C\+\+ compiler on the PATH"):
        make_trainer(origin, compile=True)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"precision": "float16"}, "precision: wanted one of float32, bfloat16, got 'float16'"),
        ({"device": "tpu"}, "device: wanted one of cpu, cuda, got 'tpu'"),
        ({"compile": True, "algorithm": "drwr"}, "compile: wanted false with drwr, got true"),
    ],
)
def test_what_cannot_be_computed_with_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        finetune_config(**values)


def test_a_gpu_that_is_not_there_is_named_by_its_key(origin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="^device: wanted cuda, but torch .* sees no CUDA device; set device=cpu"):
        make_trainer(origin, device="cuda")


def test_evaluation_draws_its_noise_on_the_cpu(origin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    generator = torch.Generator

    def watched(*device: Any) -> torch.Generator:
        made.append(device)
        return generator(*device)

    trainer = make_trainer(origin)
    monkeypatch.setattr(torch, "Generator", watched)
    trainer.evaluate(PointEnv(8, autoreset_mode=AutoresetMode.DISABLED, terminate_on_success=True), "ema")
    assert made == [()]


@pytest.mark.gpu
@pytest.mark.parametrize("algorithm", ["ppo", "drwr", "dawr"])
@pytest.mark.parametrize("images", [False, True], ids=["state", "image"])
def test_a_gpu_does_what_the_cpu_does(origins: Origins, images: bool, algorithm: str) -> None:
    sections: dict[str, Any] = {"algorithm": algorithm, "weighted": {"updates": 3, "critic_updates": 3}}
    here, there = (make_trainer(origins(images), device=device, **sections) for device in ("cpu", "cuda"))
    rollouts = [rewarded(trainer) for trainer in (here, there)]
    np.testing.assert_allclose(rollouts[0].chain[0], rollouts[1].chain[0], atol=1e-3)
    np.testing.assert_allclose(rollouts[0].log_prob[0], rollouts[1].log_prob[0], atol=1e-2)
    one, two = (trainer.update.update(rollouts[0], seeded()) for trainer in (here, there))
    assert one == pytest.approx(two, rel=0.05, abs=1e-3)
    assert all(p.device.type == "cuda" for p in there.chain.parameters())
    assert all(torch.isfinite(p).all() for p in there.chain.parameters())


@pytest.mark.gpu
def test_a_run_moves_from_a_gpu_to_the_cpu(origin: Path) -> None:
    there, here = make_trainer(origin, device="cuda"), make_trainer(origin)
    there.iterate()
    there.iterate()
    there.take_best(0.5)
    here.restore(there.checkpoint())
    for a, b in zip(there.chain.parameters(), here.chain.parameters(), strict=True):
        assert b.device.type == "cpu" and torch.equal(a.cpu(), b)
    env = PointEnv(8, autoreset_mode=AutoresetMode.DISABLED, terminate_on_success=True)
    assert there.evaluate(env, "ema").success_rate == here.evaluate(env, "ema").success_rate
    assert math.isfinite(here.iterate()["losses/policy"])


@pytest.mark.gpu
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "sections", [{"precision": "bfloat16"}, {"compile": True}, {"ppo": {"bc_weight": 0.1}}], ids=str
)
def test_options_work_on_a_gpu(origins: Origins, sections: dict[str, Any]) -> None:
    trainer = make_trainer(origins(True), device="cuda", **copy.deepcopy(sections))
    for _ in range(2):
        scalars = trainer.iterate()
    assert math.isfinite(scalars["losses/policy"])
