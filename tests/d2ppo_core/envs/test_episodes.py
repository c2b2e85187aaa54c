"""Whole episodes by their seeds, in worlds that count."""

from collections.abc import Sequence

import numpy as np
import pytest

from d2ppo_core.envs import AutoresetMode, BatchEnv, Box
from d2ppo_core.envs.base import Advance
from d2ppo_core.envs.episodes import run_episodes
from d2ppo_core.errors import ConfigError

HORIZON = 12


class Counting(BatchEnv):
    """An episode of an even seed is solved once its actions add up to its seed."""

    single_observation_space = {"left": Box(low=-np.inf, high=np.inf, shape=(1,), dtype=np.dtype(np.float32))}
    single_action_space = Box(low=-1.0, high=1.0, shape=(1,), dtype=np.dtype(np.float32))

    def __init__(self, num_envs: int, mode: AutoresetMode = AutoresetMode.DISABLED) -> None:
        super().__init__(num_envs=num_envs, horizon_steps=HORIZON, autoreset_mode=mode, terminate_on_success=True)
        self.metadata = {"autoreset_mode": mode}
        self.goal, self.sum = np.full(num_envs, np.nan), np.zeros(num_envs)
        self.seeds: list[int] = []
        self.begun: list[tuple[int, int]] = []

    def _seed(self, seed: int | Sequence[int], mask: np.ndarray) -> None:
        super()._seed(seed, mask)
        assert not isinstance(seed, int)
        self.seeds = list(seed)

    def _start(self, mask: np.ndarray, rngs: Sequence[np.random.Generator]) -> None:
        for i in np.flatnonzero(mask):
            self.goal[i], self.sum[i] = self.seeds[i], 0.0
            self.begun.append((int(i), self.seeds[i]))

    def _advance(self, actions: np.ndarray, steps: np.ndarray) -> Advance:
        done = np.where(np.arange(actions.shape[1]) < steps[:, None], actions[..., 0], 0.0)
        sums = self.sum[:, None] + np.cumsum(done, axis=1)
        self.sum = sums[:, -1]
        success = (sums >= self.goal[:, None]) & (self.goal % 2 == 0)[:, None]
        return Advance(success.astype(float), success, np.zeros(self.num_envs, bool))

    def _observe(self, mask: np.ndarray) -> dict[str, np.ndarray]:
        return {"left": (self.goal - self.sum)[:, None].astype(np.float32)}

    def close(self) -> None:
        pass


def ones(obs: dict[str, np.ndarray]) -> np.ndarray:
    """Chunks of three ones; NaN for worlds that show NaN, as a network would."""
    return np.repeat(obs["left"][:, None] * 0 + 1, 3, axis=1)


SEEDS = (4, 7, 2, 10, 6)
STEPS = (4, HORIZON, 2, 10, 6)


@pytest.mark.parametrize("num_envs", [1, 2, 8])
def test_every_seed_gets_its_episode_however_many_worlds_there_are(num_envs: int) -> None:
    env = Counting(num_envs)
    done = run_episodes(env, ones, action_horizon=2, seeds=SEEDS)
    assert done.seeds == SEEDS
    np.testing.assert_array_equal(done.steps, STEPS)
    np.testing.assert_array_equal(done.success, [True, False, True, True, True])
    assert done.success_rate == 0.8
    assert sorted(seed for _, seed in env.begun) == sorted(SEEDS)


def test_a_world_that_gets_free_takes_the_next_seed() -> None:
    env = Counting(2)
    told: list[tuple[int, int]] = []
    counts: list[int] = []
    run_episodes(
        env,
        ones,
        action_horizon=2,
        seeds=SEEDS,
        begin=lambda worlds, seeds: told.extend(zip(worlds, seeds, strict=True)),
        progress=counts.append,
    )
    assert told == env.begun == [(0, 4), (1, 7), (0, 2), (0, 10), (1, 6)]
    assert counts == [1, 2, 3, 4, 5]


def test_only_the_first_actions_of_a_chunk_are_executed() -> None:
    calls = []
    run_episodes(Counting(1), lambda obs: calls.append(1) or ones(obs), action_horizon=3, seeds=[6])
    assert len(calls) == 2


def test_worlds_that_restart_by_themselves_and_no_seeds_are_refused() -> None:
    with pytest.raises(ConfigError, match="wanted autoreset DISABLED, got SAME_STEP"):
        run_episodes(Counting(1, AutoresetMode.SAME_STEP), ones, action_horizon=1, seeds=[2])
    with pytest.raises(ConfigError, match="at least one seed"):
        run_episodes(Counting(1), ones, action_horizon=1, seeds=[])
