from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from d2ppo_core.config.finetune import PpoConfig
from d2ppo_core.finetune import experience as experience_module
from d2ppo_core.finetune.experience import make_experience
from d2ppo_core.finetune.gae import RewardScale
from d2ppo_core.finetune.rollout import Rollout
from d2ppo_core.models.critic import Critic
from d2ppo_core.models.vit import StateEncoder

from .tiny_runs import make_trainer
from .tiny_task import PointEnv

PLAIN = PpoConfig(scale_reward=False, gamma_env=0.5, gae_lambda=0.0)


class GoalCritic(Critic):
    """Values an observation by its goal alone, which differs between episodes and stays within one."""

    def __init__(self) -> None:
        super().__init__(StateEncoder(4))

    def forward(self, state: Tensor, images: Tensor | None) -> Tensor:
        return state[:, 2] + 10


def collected(origin: Path, *, chunks: int = 6, horizon_steps: int = 16) -> Rollout:
    trainer = make_trainer(origin, PointEnv(8, horizon_steps=horizon_steps))
    return trainer.collector.collect(trainer.chain, chunks=chunks, seed=0)


def targets(rollout: Rollout, config: PpoConfig) -> np.ndarray:
    made = make_experience(rollout, GoalCritic(), RewardScale(0.5), config)
    return made.target.reshape(rollout.reward.shape).numpy()


def test_a_truncated_episode_is_valued_by_its_own_last_observation(origin: Path) -> None:
    rollout = collected(origin)
    assert rollout.truncated[3].all()
    own_goal, next_goal = rollout.state[3, :, 2], rollout.state[4, :, 2]
    assert np.abs(own_goal - next_goal).min() > 0.01
    got = targets(rollout, PLAIN)
    np.testing.assert_allclose(got[3], rollout.reward[3] + 0.5 * (own_goal + 10), atol=1e-5)


def test_the_published_switch_values_it_by_the_next_episode(origin: Path) -> None:
    rollout = collected(origin)
    got = targets(rollout, replace(PLAIN, bootstrap_truncated=False))
    np.testing.assert_allclose(got[3], rollout.reward[3] + 0.5 * (rollout.state[4, :, 2] + 10), atol=1e-5)
    np.testing.assert_allclose(got[:3], targets(rollout, PLAIN)[:3])


def test_the_published_switch_lets_advantages_pass_over_the_end_of_time(origin: Path) -> None:
    rollout = collected(origin)
    rich = replace(rollout, reward=rollout.reward + np.arange(6, dtype=np.float32)[:, None] * 100)
    for published in (False, True):
        config = replace(PLAIN, gae_lambda=0.9, bootstrap_truncated=not published)
        gain = targets(rich, config)[3] - targets(rollout, config)[3]
        later = 0.45 * 400 + 0.45**2 * 500 if published else 0.0
        np.testing.assert_allclose(gain, 300 + later, rtol=1e-4)


def test_the_end_of_the_rollout_is_valued_by_what_came_next(origin: Path) -> None:
    rollout = collected(origin)
    for config in (PLAIN, replace(PLAIN, bootstrap_truncated=False)):
        got = targets(rollout, config)
        np.testing.assert_allclose(got[5], rollout.reward[5] + 0.5 * (rollout.state[5, :, 2] + 10), atol=1e-5)


def test_behind_a_solved_task_there_is_nothing(origin: Path) -> None:
    rollout = collected(origin)
    terminated = rollout.truncated.copy()
    rollout = replace(rollout, terminated=terminated, truncated=~terminated & terminated)
    np.testing.assert_allclose(targets(rollout, PLAIN)[3], rollout.reward[3], atol=1e-5)


def test_rows_are_chunks_of_worlds_in_order(origins: Callable[[bool], Path]) -> None:
    trainer = make_trainer(origins(True))
    rollout = trainer.collector.collect(trainer.chain, chunks=3, seed=0)
    made = make_experience(rollout, trainer.critic, RewardScale(0.5), PLAIN)
    assert rollout.images is not None and made.images is not None
    for row, (c, n) in {0: (0, 0), 9: (1, 1), 23: (2, 7)}.items():
        np.testing.assert_array_equal(made.state[row], rollout.state[c, n])
        np.testing.assert_array_equal(made.images[row], rollout.images[c, n])
        np.testing.assert_array_equal(made.chain[row], rollout.chain[c, n])
        np.testing.assert_array_equal(made.log_prob[row], rollout.log_prob[c, n])
        one = trainer.critic(made.state[row : row + 1], made.images[row : row + 1])
        assert float(made.value[row]) == pytest.approx(float(one.detach()), abs=1e-5)


def test_values_in_blocks_are_values_at_once(origin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(origin)
    rollout = trainer.collector.collect(trainer.chain, chunks=5, seed=0)
    whole = make_experience(rollout, trainer.critic, RewardScale(0.5), PLAIN)
    monkeypatch.setattr(experience_module, "_VALUE_ROWS", 7)
    blocks = make_experience(rollout, trainer.critic, RewardScale(0.5), PLAIN)
    torch.testing.assert_close(whole.value, blocks.value, rtol=0, atol=1e-6)
    torch.testing.assert_close(whole.target, blocks.target, rtol=0, atol=1e-6)


def test_rewards_are_scaled_only_where_asked_for(origin: Path) -> None:
    rollout = collected(origin)
    rng = np.random.default_rng(0)
    rollout = replace(rollout, reward=rng.gamma(1.0, size=rollout.reward.shape).astype(np.float32))
    config, scaled = replace(PLAIN, gamma_env=0.0), replace(PLAIN, gamma_env=0.0, scale_reward=True)
    np.testing.assert_allclose(targets(rollout, config), rollout.reward, atol=1e-5)
    wanted = RewardScale(0.5)(rollout.reward, rollout.ended)
    np.testing.assert_allclose(targets(rollout, scaled), wanted, atol=1e-5)


def test_explained_variance_is_one_for_a_critic_that_knows_and_zero_for_a_constant(origin: Path) -> None:
    made = make_experience(collected(origin), GoalCritic(), RewardScale(0.5), PLAIN)
    assert replace(made, value=made.target + 3).explained_variance == pytest.approx(1, abs=1e-5)
    assert replace(made, value=torch.zeros_like(made.target)).explained_variance == pytest.approx(0, abs=1e-5)
