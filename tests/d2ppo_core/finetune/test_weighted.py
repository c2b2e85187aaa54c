import copy
import io
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from d2ppo_core.config import from_mapping
from d2ppo_core.config.finetune import WeightedConfig
from d2ppo_core.errors import ConfigError, TrainingError
from d2ppo_core.finetune.rollout import Rollout
from d2ppo_core.finetune.runs import load_run
from d2ppo_core.finetune.trainer import Trainer
from d2ppo_core.finetune.weighted import WeightedUpdate, _draw
from d2ppo_core.losses.ppo import normalized
from d2ppo_core.models.chain import DiffusionChain
from d2ppo_core.pretrain.run import pretrain

from . import tiny_task
from .tiny_runs import finetune_config, make_trainer, pretrain_config, tune
from .tiny_task import PointEnv

ALGORITHMS = ["drwr", "dawr"]
SMALL = {"updates": 3, "critic_updates": 2, "batch_size": 16, "replay_iterations": 2}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def prepared(origin: Path, algorithm: str, **weighted: Any) -> tuple[Trainer, WeightedUpdate]:
    trainer = make_trainer(origin, algorithm=algorithm, weighted=SMALL | weighted)
    assert isinstance(trainer.update, WeightedUpdate)
    return trainer, trainer.update


def rewarded(trainer: Trainer, seed: int = 1) -> Rollout:
    """A rollout whose chunks were rewarded at random, so that there is something to learn."""
    rollout = trainer.collector.collect(trainer.chain, chunks=8, seed=seed)
    return replace(rollout, reward=torch.rand(rollout.reward.shape, generator=seeded(seed)).numpy())


def returns_to_go(rollout: Rollout, gamma: float) -> np.ndarray:
    """Discounted rewards until the episode or the rollout ends, summed one by one."""
    found = np.zeros_like(rollout.reward)
    for c, n in np.ndindex(rollout.reward.shape):
        for k in range(c, len(rollout.reward)):
            found[c, n] += gamma ** (k - c) * rollout.reward[k, n]
            if rollout.ended[k, n]:
                break
    return found


def test_drwr_scores_chunks_by_the_discounted_rewards_that_followed(origin: Path) -> None:
    trainer, update = prepared(origin, "drwr")
    rollout = rewarded(trainer)
    assert rollout.ended[:-1].any()
    update._remember(rollout)
    (part,) = update._experiences()
    np.testing.assert_allclose(part.advantage.reshape(8, 8), returns_to_go(rollout, 0.999), rtol=1e-5)


def test_dawr_scores_them_by_the_advantage_over_its_critic(origin: Path) -> None:
    trainer, update = prepared(origin, "dawr")
    update._quiet = replace(update._quiet, gae_lambda=1.0)
    rollout = replace(rewarded(trainer), terminated=np.ones((8, 8), bool), truncated=np.zeros((8, 8), bool))
    update._memory = [rollout]
    (part,) = update._experiences()
    torch.testing.assert_close(part.advantage, torch.from_numpy(rollout.reward.flatten()) - part.value)
    with torch.no_grad():
        torch.testing.assert_close(part.value, update.critic(part.state, None))


def test_what_is_cloned_is_the_chunk_as_it_was_executed(origin: Path) -> None:
    trainer, update = prepared(origin, "drwr")
    env = trainer.collector.env.env
    assert isinstance(env, PointEnv)
    env.actions.clear()
    rollout = rewarded(trainer)
    executed = np.stack(env.actions)
    update._remember(rollout)
    (part,) = update._experiences()
    assert (np.abs(rollout.chain[:, :, -1]) > 1).any()
    actions = trainer.observer.actions(part.chain[:, -1].reshape(-1, 4, 7)).reshape(executed.shape)
    np.testing.assert_allclose(actions, executed, atol=1e-6)


def test_errors_of_a_diffusion_policy_are_those_of_the_noise_at_tuned_times_and_executed_actions(origin: Path) -> None:
    chain = prepared(origin, "drwr")[0].chain
    assert isinstance(chain, DiffusionChain)
    policy, count = chain.policy, 400
    chain.likelihood_dims = 14
    condition, chunks = torch.randn(count, 4), torch.rand(count, 28)
    found = chain.cloning_errors(condition, chunks, seeded())
    generator = seeded()
    t = torch.randint(10, (count,), generator=generator)  # 5 of 10 steps are tuned, of 20 times: 0 ... 9
    assert set(t.tolist()) == set(range(10))
    eps = torch.randn(count, 28, generator=generator)
    alpha_bar = policy.alpha_bar[t][:, None]
    noisy = alpha_bar.sqrt() * chunks + (1 - alpha_bar).sqrt() * eps
    predicted, _ = policy.denoiser(noisy, t, condition)
    torch.testing.assert_close(found, ((predicted - eps) ** 2)[:, :14].mean(1), rtol=1e-4, atol=1e-5)


def test_drawn_rows_of_several_rollouts_stay_together(origin: Path) -> None:
    trainer, update = prepared(origin, "dawr", replay_iterations=3)
    for seed in range(3):
        update._remember(rewarded(trainer, seed))
    parts = update._experiences()
    drawn = _draw(parts, 500, seeded())
    for name, values in (
        ("state", [p.state for p in parts]),
        ("chunks", [p.chain[:, -1] for p in parts]),
        ("target", [p.target for p in parts]),
    ):
        assert torch.equal(getattr(drawn, name), torch.cat(values)[drawn.index]), name
    counts = torch.bincount(drawn.index // 64, minlength=3)
    assert len(counts) == 3 and counts.min() > 120


def test_pictures_are_drawn_with_their_states(origins: Any) -> None:
    trainer, update = prepared(origins(True), "dawr", replay_iterations=2)
    for seed in range(2):
        update._remember(rewarded(trainer, seed))
    parts = update._experiences()
    drawn = _draw(parts, 50, seeded())
    pictures = torch.cat([p.images for p in parts if p.images is not None])
    assert drawn.images is not None and torch.equal(drawn.images, pictures[drawn.index])
    assert math.isfinite(update.update(rewarded(trainer, 3), seeded())["losses/policy"])


@pytest.mark.parametrize(("algorithm", "kept"), [("drwr", 1), ("dawr", 3)])
def test_only_the_latest_rollouts_are_remembered(origin: Path, algorithm: str, kept: int) -> None:
    trainer, update = prepared(origin, algorithm, replay_iterations=3)
    rollouts = [rewarded(trainer, seed) for seed in range(4)]
    for rollout in rollouts:
        update.update(rollout, seeded())
    assert len(update._memory) == kept
    for remembered, rollout in zip(update._memory, rollouts[-kept:], strict=True):
        assert np.array_equal(remembered.state, rollout.state)


def test_one_step_descends_on_the_weighted_errors(origin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, update = prepared(origin, "drwr", updates=1, beta=1.5, max_weight=3.0)
    rollout = rewarded(trainer)
    reference = copy.deepcopy(trainer.chain)
    gradients: list[torch.Tensor] = []
    monkeypatch.setattr(
        update, "step_actor", lambda: gradients.extend(p.grad.clone() for p in update.actor_parameters) or 1.0
    )
    found = update.update(rollout, seeded(5))
    generator = seeded(5)
    score = normalized(torch.from_numpy(returns_to_go(rollout, 0.999)).flatten())
    weight = (1.5 * score).exp().clamp_max(3.0)
    index = torch.randint(64, (16,), generator=generator).sort().values
    state = torch.from_numpy(rollout.state).flatten(0, 1)[index]
    chunks = torch.from_numpy(rollout.chain[:, :, -1]).flatten(0, 1)[index].clamp(-1, 1)
    errors = reference.cloning_errors(reference.condition(state, None), chunks, generator)
    loss = (weight[index] * errors).sum() / 16
    loss.backward()
    assert found["losses/policy"] == pytest.approx(loss.item(), rel=1e-4)
    wanted = [p.grad for p in reference.parameters() if p.requires_grad]
    for got, want in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-6)
    assert found["weighted/mean"] == pytest.approx(float(weight.mean()), rel=1e-4)
    assert found["weighted/limited"] == pytest.approx(float((weight >= 3).float().mean()))


def test_warm_up_trains_the_critic_alone_and_drwr_has_none(origin: Path) -> None:
    trainer, update = prepared(origin, "dawr")
    actor, critic = copy.deepcopy(trainer.chain.state_dict()), copy.deepcopy(trainer.critic.state_dict())
    found = update.update(rewarded(trainer), seeded(), actor=False)
    assert "losses/policy" not in found and found["losses/value"] > 0
    assert all(torch.equal(value, actor[name]) for name, value in trainer.chain.state_dict().items())
    assert any(not torch.equal(value, critic[name]) for name, value in trainer.critic.state_dict().items())

    trainer, update = prepared(origin, "drwr")
    critic = copy.deepcopy(trainer.critic.state_dict())
    found = update.update(rewarded(trainer), seeded(), actor=False)
    assert update.steps == 3 and "losses/value" not in found
    assert all(torch.equal(value, critic[name]) for name, value in trainer.critic.state_dict().items())


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_restored_update_goes_on_with_the_same_bits(origin: Path, algorithm: str) -> None:
    trainer, update = prepared(origin, algorithm)
    for seed in range(3):
        update.update(rewarded(trainer, seed), seeded(seed))
    buffer = io.BytesIO()
    torch.save(update.state_dict(), buffer)
    buffer.seek(0)
    _, restored = prepared(origin, algorithm)
    restored.load_state_dict(torch.load(buffer, weights_only=True))
    rollout = rewarded(trainer, 7)
    one, other = update.update(rollout, seeded(9)), restored.update(rollout, seeded(9))
    assert one == other
    for a, b in zip(update.chain.parameters(), restored.chain.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_interrupted_run_ends_as_one_that_was_not(origin: Path, tmp_path: Path, algorithm: str) -> None:
    config = finetune_config(algorithm=algorithm, weighted=SMALL)
    tune(replace(config, iterations=3), origin, tmp_path / "parts")
    assert tune(config, origin, tmp_path / "parts", resume=True).finished
    tune(config, origin, tmp_path / "whole")
    one, other = (load_run(tmp_path / name).policy("raw") for name in ("parts", "whole"))
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_loss_that_is_not_finite_leaves_the_weights_as_they_were(origin: Path) -> None:
    trainer, update = prepared(origin, "drwr")
    before = copy.deepcopy(trainer.chain.state_dict())
    rollout = rewarded(trainer)
    rollout.chain[:] = math.nan
    with pytest.raises(TrainingError, match="the loss is nan after 0 steps of the actor"):
        update.update(rollout, seeded())
    assert all(torch.equal(value, before[name]) for name, value in trainer.chain.state_dict().items())


@pytest.mark.parametrize("key", ["beta", "max_weight", "replay_iterations", "batch_size", "updates", "critic_updates"])
def test_numbers_that_are_not_positive_are_refused(key: str) -> None:
    with pytest.raises(ConfigError, match=rf"weighted\.{key}: wanted >"):
        from_mapping(WeightedConfig, {key: 0})


@pytest.fixture(scope="module")
def clumsy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pre-training on demonstrations that mostly miss the goal."""
    folder = tmp_path_factory.mktemp("clumsy")
    tiny_task.demonstrate(folder / "demos.hdf5", episodes=40, seed=0, miss=0.3)
    config = pretrain_config(
        model={"hidden_dim": 64},
        optim={"steps": 150, "batch_size": 128, "lr": 3e-3, "ema_start_step": 50, "ema_every": 1, "ema_decay": 0.9},
    )
    pretrain(config, folder / "demos.hdf5", folder / "run", progress=False)
    return folder / "run"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_was_rewarded_is_done_more_often(clumsy: Path, algorithm: str) -> None:
    trainer = make_trainer(
        clumsy,
        PointEnv(32),
        algorithm=algorithm,
        env={"num_envs": 32, "chunks_per_iteration": 16},
        ppo={"actor_lr": 1e-3, "critic_lr": 3e-3},
        critic={"hidden_dim": 64, "layers": 2},
        weighted={"updates": 60, "critic_updates": 60, "batch_size": 256, "beta": 3.0, "max_weight": 20.0}
        | {"replay_iterations": 3},
    )
    rewards = [trainer.iterate()["rollout/reward_per_chunk"] for _ in range(8)]
    assert rewards[-1] > rewards[0] + 0.1, rewards
