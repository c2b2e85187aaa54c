"""Whole episodes with fixed seeds: the way a policy's success is measured."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from d2ppo_core.envs.protocol import AutoresetMode, Observation, VecEnv
from d2ppo_core.errors import ConfigError

Act = Callable[[Observation], NDArray[Any]]
"""Observations (N, ...) by name to chunks of actions (N, Tp, Da)."""


@dataclass(frozen=True, kw_only=True)
class Episodes:
    """One row per episode."""

    seeds: tuple[int, ...]
    success: NDArray[np.bool_]
    """(E,) solved at any step."""
    steps: NDArray[np.int32]
    """(E,) control steps executed."""

    @property
    def success_rate(self) -> float:
        """Share of solved episodes."""
        return float(self.success.mean())


def run_episodes(
    env: VecEnv,
    act: Act,
    *,
    action_horizon: int,
    seeds: Sequence[int],
    progress: Callable[[int], None] = lambda done: None,
) -> Episodes:
    """Run one episode per seed, as many at a time as there are worlds.

    Args:
        env: With autoreset DISABLED.
        act: Asked for all worlds at once; answers for worlds that have ended are ignored.
        action_horizon: Actions executed of each chunk.
        seeds: Of the worlds.
        progress: Told how many episodes have ended.

    Raises:
        ConfigError: no seeds, or the environment restarts worlds by itself.
    """
    if not seeds:
        raise ConfigError("wanted at least one seed")
    if env.metadata["autoreset_mode"] is not AutoresetMode.DISABLED:
        raise ConfigError(f"wanted autoreset DISABLED, got {env.metadata['autoreset_mode'].name}")
    success = np.zeros(len(seeds), bool)
    steps = np.zeros(len(seeds), np.int32)
    for low in range(0, len(seeds), env.num_envs):
        block = list(seeds[low : low + env.num_envs])
        running = np.arange(env.num_envs) < len(block)
        padded = [*block, *[0] * (env.num_envs - len(block))]
        obs, _ = env.reset(seed=padded, options={"reset_mask": running})
        while running.any():
            outcome = env.step_chunk(act(obs)[:, :action_horizon])
            obs = outcome.obs
            ended = running & (outcome.terminated | outcome.truncated)
            index = low + np.flatnonzero(ended)
            if len(index):
                success[index] = outcome.info["episode"]["success"][ended]
                steps[index] = outcome.info["episode"]["length"][ended]
                running &= ~ended
                progress(low + len(block) - int(running.sum()))
    return Episodes(seeds=tuple(seeds), success=success, steps=steps)
