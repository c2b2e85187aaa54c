"""Bookkeeping of environments, on a toy whose state is the sum of its actions."""

import numpy as np
import pytest

from d2ppo_core.envs import AutoresetMode, BatchEnv, Box, ChunkEnv
from d2ppo_core.envs.base import Advance
from d2ppo_core.envs.contract import HORIZON, EnvContract
from d2ppo_core.errors import ConfigError

GOAL, LOST = 3.0, -3.0


class Adder(BatchEnv):
    """Solved while the sum of the actions is at least GOAL, lost below LOST; diverges beyond 100."""

    single_observation_space = {"sum": Box(low=-np.inf, high=np.inf, shape=(1,), dtype=np.dtype(np.float32))}
    single_action_space = Box(low=-1.0, high=1.0, shape=(3,), dtype=np.dtype(np.float32))

    def __init__(self, num_envs=2, **options):
        super().__init__(num_envs=num_envs, **({"horizon_steps": HORIZON} | options))
        self.metadata = {"autoreset_mode": self.autoreset_mode, "control_hz": 20}
        self.sums = np.zeros(num_envs)

    def close(self):
        self.sums = np.zeros(self.num_envs)

    def _start(self, mask, rngs):
        for i in np.flatnonzero(mask):
            self.sums[i] = rngs[i].uniform(0.0, 0.1)

    def _advance(self, actions, steps):
        sums = self.sums[:, None] + np.cumsum(actions.sum(axis=2), axis=1)
        self.sums = np.where(steps > 0, sums[np.arange(self.num_envs), np.maximum(steps - 1, 0)], self.sums)
        return Advance((sums >= GOAL).astype(float), sums >= GOAL, np.abs(self.sums) > 100, self.sums < LOST)

    def _observe(self, mask):
        return {"sum": self.sums[:, None].astype(np.float32)}


class TestAdder(EnvContract):
    def make(self, *, autoreset_mode=AutoresetMode.SAME_STEP):
        return Adder(autoreset_mode=autoreset_mode)


def ones(env, steps, value=1.0):
    return np.full((env.num_envs, steps, 3), value)


def test_a_lost_episode_ends_at_once_without_a_reward():
    for terminate, steps in ((False, 4), (True, 2)):  # worlds that look after each step, and those that look after all
        env = Adder(terminate_on_success=terminate)
        env.reset(seed=0)
        outcome = env.step_chunk(ones(env, 4, -1.0))
        np.testing.assert_array_equal(outcome.steps, steps)
        assert outcome.terminated.all() and not outcome.truncated.any() and not outcome.success.any()
        assert not outcome.rewards.any()


def test_solving_ends_the_episode_only_where_asked_for():
    for terminate, steps, solved_steps in ((False, 4, 4), (True, 1, 1)):
        env = Adder(terminate_on_success=terminate)
        env.reset(seed=0)
        outcome = env.step_chunk(ones(env, 4))
        np.testing.assert_array_equal(outcome.steps, steps)
        np.testing.assert_array_equal(outcome.rewards.sum(axis=1), solved_steps)
        np.testing.assert_array_equal(outcome.terminated, terminate)
        assert not outcome.truncated.any()


def test_the_final_observation_is_the_ended_episodes_own():
    env = Adder()
    env.reset(seed=0)
    outcome = env.step_chunk(ones(env, HORIZON))
    assert (outcome.info["final_obs"]["sum"] >= 3 * HORIZON).all()
    assert (outcome.obs["sum"] < 0.1).all()
    np.testing.assert_array_equal(outcome.info["episode"]["return"], HORIZON)


def test_a_diverging_world_is_truncated():
    env = Adder(horizon_steps=50)
    env.reset(seed=0)
    actions = ones(env, 1, 0.0)
    actions[0] = 50.0
    outcome = env.step_chunk(actions)
    np.testing.assert_array_equal(outcome.truncated, [True, False])


def test_success_at_any_step_and_at_the_end_are_told_apart():
    env = Adder(num_envs=1)
    env.reset(seed=0)
    actions = np.concatenate([ones(env, 2), ones(env, HORIZON - 2, -1.0)], axis=1)
    episode = env.step_chunk(actions).info["episode"]
    assert episode["success"][0] and not episode["success_at_end"][0]


def test_the_chunk_wrapper_counts_successes():
    env = ChunkEnv(Adder(), pred_horizon=4, action_horizon=3)
    assert np.isnan(env.success_rate)
    env.reset(seed=0)
    for _ in range(2):
        env.step(ones(env, 4))
    assert (env.episodes, env.successes, env.success_rate) == (2, 2, 1.0)
    env.clear_statistics()
    assert env.episodes == 0
    assert env.metadata["pred_horizon"] == 4 and env.metadata["action_horizon"] == 3


def test_horizons_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match=r"action_horizon must be 1 \.\.\. 4 \(pred_horizon\), got 5"):
        ChunkEnv(Adder(), pred_horizon=4, action_horizon=5)
    with pytest.raises(ConfigError, match="worlds and horizon must be positive, got 0 and 6"):
        Adder(num_envs=0)


def test_a_box_refuses_swapped_bounds_and_other_shapes():
    box = Box(low=-1.0, high=1.0, shape=(2,), dtype=np.dtype(np.float32))
    assert box.contains(np.zeros(2, np.float32))
    assert not box.contains(np.zeros(3, np.float32)) and not box.contains(np.full(2, 2.0, np.float32))
    assert not box.contains(np.zeros(2))
    with pytest.raises(ValueError, match="low must not exceed high, got 1 and 0"):
        Box(low=1, high=0, shape=(), dtype=np.dtype(np.float32))
