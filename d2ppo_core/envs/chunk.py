"""The outer step of the two-layer problem: a policy's chunk is one action, its rewards are summed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from d2ppo_core.envs.protocol import Info, Observation, VecEnv
from d2ppo_core.envs.spaces import Box
from d2ppo_core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ChunkStep:
    """What one chunk led to."""

    obs: Observation
    """Where the next chunk starts."""
    reward: NDArray[np.float32]
    """(N,) sum over the executed actions."""
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    steps: NDArray[np.int32]
    """(N,) control steps executed."""
    info: Info


class ChunkEnv:
    """Executes the first `action_horizon` actions of chunks of `pred_horizon`, and counts successes."""

    def __init__(self, env: VecEnv, *, pred_horizon: int, action_horizon: int) -> None:
        """Wrap `env`, which is closed with this.

        Raises:
            ConfigError: not 1 <= action_horizon <= pred_horizon.
        """
        if not 1 <= action_horizon <= pred_horizon:
            raise ConfigError(f"action_horizon must be 1 ... {pred_horizon} (pred_horizon), got {action_horizon}")
        self.env, self.pred_horizon, self.action_horizon = env, pred_horizon, action_horizon
        self.num_envs = env.num_envs
        self.episodes = 0
        """Episodes finished since the last `clear_statistics`."""
        self.successes = 0
        """Episodes of these that were solved at any step."""

    @property
    def single_observation_space(self) -> Mapping[str, Box]:
        """As of the environment."""
        return self.env.single_observation_space

    @property
    def single_action_space(self) -> Box:
        """One chunk, (pred_horizon, Da)."""
        return self.env.single_action_space.batched(self.pred_horizon)

    @property
    def metadata(self) -> Mapping[str, Any]:
        """As of the environment, and both horizons."""
        horizons = {"pred_horizon": self.pred_horizon, "action_horizon": self.action_horizon}
        return {**self.env.metadata, **horizons}

    @property
    def success_rate(self) -> float:
        """Share of solved episodes; NaN before the first ended."""
        return self.successes / self.episodes if self.episodes else float("nan")

    def reset(
        self, *, seed: int | Sequence[int] | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Observation, Info]:
        """Start episodes, as the environment does."""
        return self.env.reset(seed=seed, options=options)

    def step(self, chunks: NDArray[Any]) -> ChunkStep:
        """Execute one chunk per world, (N, pred_horizon, Da).

        Raises:
            ConfigError: another shape, or numbers that are not finite.
        """
        chunks = np.asarray(chunks)
        wanted = (self.num_envs, *self.single_action_space.shape)
        if chunks.shape != wanted:
            raise ConfigError(f"chunks must have shape {wanted}, got {chunks.shape}")
        outcome = self.env.step_chunk(chunks[:, : self.action_horizon])
        ended = outcome.terminated | outcome.truncated
        if ended.any():
            self.episodes += int(ended.sum())
            self.successes += int(outcome.info["episode"]["success"][ended].sum())
        return ChunkStep(
            obs=outcome.obs,
            reward=outcome.rewards.sum(axis=1, dtype=np.float32),
            terminated=outcome.terminated,
            truncated=outcome.truncated,
            steps=outcome.steps,
            info=outcome.info,
        )

    def clear_statistics(self) -> None:
        """Count episodes and successes from zero."""
        self.episodes = self.successes = 0

    def close(self) -> None:
        """Close the environment."""
        self.env.close()
