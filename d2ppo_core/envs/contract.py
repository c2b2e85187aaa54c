# ruff: noqa: D102 -- the names of tests are sentences
"""The contract of `VecEnv` as tests: a test class inherits it, says how to make its environment, and is checked.

    class TestMyEnv(EnvContract):
        def make(self, **options): return MyEnv(num_envs=2, **options)

Only `assert` is used, so that any runner can execute it.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from d2ppo_core.envs.chunk import ChunkEnv
from d2ppo_core.envs.protocol import AutoresetMode, Observation, VecEnv
from d2ppo_core.errors import ConfigError, WorldError

HORIZON = 6
"""Control steps per episode of the environments that `make` returns."""


class EnvContract(ABC):
    """What every environment has to fulfil."""

    @abstractmethod
    def make(self, *, autoreset_mode: AutoresetMode = AutoresetMode.SAME_STEP) -> VecEnv:
        """A new environment of at least two worlds whose episodes last HORIZON steps."""

    def test_it_is_a_vec_env(self) -> None:
        with _closing(self.make()) as env:
            assert isinstance(env, VecEnv)
            assert env.num_envs >= 2
            assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
            assert env.metadata["control_hz"] > 0

    def test_observations_fit_their_spaces_in_order(self) -> None:
        with _closing(self.make()) as env:
            obs, _ = env.reset(seed=0)
            after = env.step(_actions(env, 0))[0]
            for observation in (obs, after):
                assert list(observation) == list(env.single_observation_space)
                for key, box in env.single_observation_space.items():
                    assert box.batched(env.num_envs).contains(observation[key]), key

    def test_equal_seeds_repeat_bit_by_bit(self) -> None:
        with _closing(self.make()) as one, _closing(self.make()) as other:
            _same(_rollout(one, seed=3), _rollout(other, seed=3))
            _same(_rollout(one, seed=3), _rollout(other, seed=3))

    def test_worlds_and_seeds_differ(self) -> None:
        with _closing(self.make()) as env:
            first, _ = env.reset(seed=0)
            other, _ = env.reset(seed=1000)
            assert any(not np.array_equal(first[key][0], first[key][1]) for key in first)
            assert any(not np.array_equal(first[key], other[key]) for key in first)
            again, _ = env.reset(seed=list(range(1000, 1000 + env.num_envs)))
            _same(other, again)

    def test_later_resets_draw_new_episodes(self) -> None:
        with _closing(self.make()) as env:
            first, _ = env.reset(seed=0)
            second, _ = env.reset()
            assert any(not np.array_equal(first[key], second[key]) for key in first)

    def test_a_mask_resets_some_worlds_and_leaves_the_others(self) -> None:
        with _closing(self.make()) as env:
            env.reset(seed=0)
            before = env.step(_actions(env, 0))[0]
            mask = np.arange(env.num_envs) == 0
            after, _ = env.reset(options={"reset_mask": mask})
            _same({key: value[1:] for key, value in before.items()}, {key: value[1:] for key, value in after.items()})
            assert any(not np.array_equal(before[key][0], after[key][0]) for key in before)

    def test_episodes_are_truncated_at_the_horizon_and_start_again_in_the_same_step(self) -> None:
        with _closing(self.make()) as env:
            env.reset(seed=0)
            for t in range(HORIZON):
                obs, _, terminated, truncated, info = env.step(_actions(env, t))
                assert not terminated.any()
                assert truncated.all() == truncated.any() == (t == HORIZON - 1)
            assert info["_final_obs"].all()
            assert list(info["final_obs"]) == list(obs)
            assert any(not np.array_equal(info["final_obs"][key], obs[key]) for key in obs)
            assert (info["episode"]["length"] == HORIZON).all()
            assert not env.step(_actions(env, 0))[3].any()

    def test_a_world_that_is_not_reset_stands_still(self) -> None:
        with _closing(self.make(autoreset_mode=AutoresetMode.DISABLED)) as env:
            env.reset(seed=0)
            for t in range(HORIZON):
                last, _, _, truncated, info = env.step(_actions(env, t))
            assert truncated.all()
            _same(info["final_obs"], last)
            still, reward, _, truncated, _ = env.step(_actions(env, 0))
            _same(still, last)
            assert not truncated.any() and not reward.any()
            env.reset(options={"reset_mask": truncated | True})
            assert any(not np.array_equal(env.step(_actions(env, 0))[0][key], last[key]) for key in last)

    def test_a_chunk_equals_its_steps(self) -> None:
        with _closing(self.make()) as single, _closing(self.make()) as chunked:
            single.reset(seed=5)
            chunked.reset(seed=5)
            actions = np.stack([_actions(single, t) for t in range(4)], axis=1)
            outcome = chunked.step_chunk(actions)
            for t in range(4):
                obs, reward, _, _, info = single.step(actions[:, t])
                np.testing.assert_array_equal(reward, outcome.rewards[:, t])
                np.testing.assert_array_equal(info["success"], outcome.success[:, t])
            _same(obs, outcome.obs)
            np.testing.assert_array_equal(outcome.steps, 4)

    def test_a_chunk_stops_where_the_episode_ends(self) -> None:
        with _closing(self.make()) as env:
            env.reset(seed=0)
            env.step_chunk(np.stack([_actions(env, t) for t in range(4)], axis=1))
            outcome = env.step_chunk(np.stack([_actions(env, t) for t in range(4)], axis=1))
            np.testing.assert_array_equal(outcome.steps, HORIZON - 4)
            assert outcome.truncated.all()
            assert not outcome.rewards[:, HORIZON - 4 :].any()

    def test_the_chunk_wrapper_sums_rewards_and_counts_episodes(self) -> None:
        env = ChunkEnv(self.make(), pred_horizon=4, action_horizon=3)
        with _closing(env):
            env.reset(seed=0)
            chunk = np.stack([_actions(env.env, t) for t in range(4)], axis=1)
            first, second = env.step(chunk), env.step(chunk)
            np.testing.assert_array_equal(first.steps, 3)
            assert second.truncated.all() and env.episodes == env.num_envs
            assert env.successes == int(second.info["episode"]["success"].sum())
            _raises(ConfigError, "chunks must have shape", lambda: env.step(chunk[:, :2]))

    def test_returned_arrays_are_not_overwritten_later(self) -> None:
        with _closing(self.make()) as env:
            obs, _ = env.reset(seed=0)
            kept = copy.deepcopy(obs)
            env.step(_actions(env, 0))
            _same(obs, kept)

    def test_wrong_input_is_refused_and_says_what_was_wanted(self) -> None:
        with _closing(self.make()) as env:
            actions = _actions(env, 0)
            _raises(WorldError, "reset", lambda: env.step(actions))
            env.reset(seed=0)
            _raises(ConfigError, f"{env.num_envs}, {actions.shape[1]}", lambda: env.step(actions[:, :-1]))
            broken = actions.copy()
            broken[1, 2] = np.nan
            _raises(ConfigError, "finite", lambda: env.step(broken))
            _raises(ConfigError, "seeds", lambda: env.reset(seed=[1]))
            _raises(ConfigError, "reset_mask", lambda: env.reset(options={"reset_mask": np.ones(99, bool)}))

    def test_closing_twice_does_no_harm(self) -> None:
        env = self.make()
        env.close()
        env.close()


def _actions(env: VecEnv, step: int) -> NDArray[np.float32]:
    box = env.single_action_space.batched(env.num_envs)
    return np.asarray(box.sample(np.random.default_rng(step)), dtype=np.float32)


def _rollout(env: VecEnv, seed: int) -> Observation:
    env.reset(seed=seed)
    for t in range(HORIZON + 2):
        obs = env.step(_actions(env, t))[0]
    return obs


def _same(one: Observation, other: Observation) -> None:
    assert list(one) == list(other)
    for key in one:
        np.testing.assert_array_equal(one[key], other[key], err_msg=key)


def _raises(kind: type[Exception], part: str, call: Any) -> None:
    try:
        call()
    except kind as error:
        assert part in str(error), f"{part!r} is not in {error}"
    else:
        raise AssertionError(f"no {kind.__name__}")


class _closing:
    """contextlib.closing, but typed for anything with `close`."""

    def __init__(self, env: Any) -> None:
        self._env = env

    def __enter__(self) -> Any:
        return self._env

    def __exit__(self, *_: object) -> None:
        self._env.close()
