"""What all environments share: seeds, time limits, autoreset, final observations and the bookkeeping of episodes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from d2ppo_core.closing import Closing
from d2ppo_core.envs.protocol import AutoresetMode, ChunkOutcome, Info, Observation
from d2ppo_core.envs.spaces import Box
from d2ppo_core.errors import ConfigError, WorldError

Mask = NDArray[np.bool_]


class Advance(NamedTuple):
    """What T control steps of N worlds led to; values beyond the executed steps mean nothing."""

    rewards: NDArray[np.floating[Any]]
    """(N, T) reward of each step."""
    success: Mask
    """(N, T) solved after each step."""
    diverged: Mask
    """(N,) the simulation broke down."""
    lost: Mask
    """(N,) the episode cannot be solved any more and ends."""


class BatchEnv(Closing):
    """A VecEnv but for the worlds themselves: a subclass starts, advances and observes them."""

    num_envs: int
    single_observation_space: Mapping[str, Box]
    single_action_space: Box
    metadata: Mapping[str, Any]

    def __init__(
        self,
        *,
        num_envs: int,
        horizon_steps: int,
        autoreset_mode: AutoresetMode = AutoresetMode.SAME_STEP,
        terminate_on_success: bool = False,
    ) -> None:
        """Set up the bookkeeping; no episode runs before the first `reset`.

        Args:
            num_envs: Number of worlds.
            horizon_steps: Control steps after which an episode is truncated.
            autoreset_mode: When worlds start again.
            terminate_on_success: End an episode when it is solved; robosuite goes on, rewarding every solved step.

        Raises:
            ConfigError: a number is not positive.
        """
        if num_envs < 1 or horizon_steps < 1:
            raise ConfigError(f"worlds and horizon must be positive, got {num_envs} and {horizon_steps}")
        self.num_envs, self.horizon_steps = num_envs, horizon_steps
        self.autoreset_mode, self.terminate_on_success = autoreset_mode, terminate_on_success
        self._rngs: list[np.random.Generator] | None = None
        self._elapsed = np.zeros(num_envs, np.int32)
        self._return = np.zeros(num_envs, np.float64)
        self._solved = np.zeros(num_envs, bool)
        self._solved_now = np.zeros(num_envs, bool)
        self._over = np.ones(num_envs, bool)

    @property
    def observation_space(self) -> dict[str, Box]:
        """Observations of all worlds."""
        return {key: box.batched(self.num_envs) for key, box in self.single_observation_space.items()}

    @property
    def action_space(self) -> Box:
        """Actions of all worlds."""
        return self.single_action_space.batched(self.num_envs)

    def reset(
        self, *, seed: int | Sequence[int] | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Observation, Info]:
        """Start episodes; see `VecEnv.reset`.

        Raises:
            ConfigError: seeds or mask are not one per world.
            WorldError: no seed was ever given.
        """
        mask = self._mask_of(options)
        if seed is not None:
            self._seed(seed, mask)
        self._begin(mask)
        return self._observe(np.ones(self.num_envs, bool)), {"success": self._solved_now.copy()}

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[Observation, NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_], Info]:
        """One control step; see `VecEnv.step`. Raises as `step_chunk` does."""
        actions = np.asarray(actions)
        if actions.shape != self.action_space.shape:
            raise ConfigError(f"actions must have shape {self.action_space.shape}, got {actions.shape}")
        chunk = self.step_chunk(actions[:, None])
        return chunk.obs, chunk.rewards[:, 0], chunk.terminated, chunk.truncated, chunk.info

    def step_chunk(self, actions: NDArray[Any]) -> ChunkOutcome:
        """Up to T control steps; see `VecEnv.step_chunk`.

        Raises:
            ConfigError: the actions have another shape or are not finite.
            WorldError: `reset` was never called.
        """
        actions = self._checked(actions)
        steps, (rewards, success, diverged, lost) = self._execute(actions)
        executed = np.arange(actions.shape[1]) < steps[:, None]
        success = success & executed
        rewards = np.where(executed, rewards, 0.0).astype(np.float32)
        ran = steps > 0
        self._elapsed += steps
        self._return += rewards.sum(axis=1)
        self._solved |= success.any(axis=1)
        latest = np.take_along_axis(success, np.maximum(steps - 1, 0)[:, None], axis=1)[:, 0]
        self._solved_now = np.where(ran, latest, self._solved_now)
        terminated = ran & (self._solved | lost if self.terminate_on_success else lost)
        truncated = ran & ~terminated & ((self._elapsed >= self.horizon_steps) | diverged)
        info: Info = {"success": self._solved_now.copy()}
        obs = self._finish(terminated | truncated, info)
        return ChunkOutcome(
            obs=obs,
            rewards=rewards,
            success=success,
            steps=steps,
            terminated=terminated,
            truncated=truncated,
            info=info,
        )

    def stages(self, obs: Observation) -> dict[str, Mask]:
        """See `VecEnv.stages`; a task without any, unless a subclass knows better."""
        return {}

    @abstractmethod
    def close(self) -> None:
        """Free everything; a second call does nothing."""

    @abstractmethod
    def _start(self, mask: Mask, rngs: Sequence[np.random.Generator]) -> None:
        """Begin new episodes in the worlds of `mask`, drawn with their generators."""

    @abstractmethod
    def _advance(self, actions: NDArray[np.float64], steps: NDArray[np.int32]) -> Advance:
        """Execute the first `steps[i]` (N,) of (N, T, Da) actions in world i."""

    @abstractmethod
    def _observe(self, mask: Mask) -> Observation:
        """Fresh arrays for all worlds; rows outside the mask are not looked at."""

    def _execute(self, actions: NDArray[np.float64]) -> tuple[NDArray[np.int32], Advance]:
        """Steps executed (N,), and what they led to."""
        horizon = actions.shape[1]
        left = np.where(self._over, 0, self.horizon_steps - self._elapsed).astype(np.int32)
        if not self.terminate_on_success or horizon == 1:
            steps = np.minimum(left, horizon).astype(np.int32)
            return steps, self._advance(actions, steps)
        steps, active = np.zeros(self.num_envs, np.int32), left > 0
        rewards = np.zeros((self.num_envs, horizon))
        success = np.zeros((self.num_envs, horizon), bool)
        diverged, lost = np.zeros((2, self.num_envs), bool)
        for t in range(horizon):
            one = self._advance(actions[:, t : t + 1], active.astype(np.int32))
            steps += active
            rewards[:, t] = one.rewards[:, 0]
            success[:, t] = one.success[:, 0] & active
            diverged |= one.diverged & active
            lost |= one.lost & active
            active &= ~success[:, t] & ~diverged & ~lost & (steps < left)
        return steps, Advance(rewards, success, diverged, lost)

    def _finish(self, ended: Mask, info: Info) -> Observation:
        """Observe, and start again where episodes ended."""
        obs = self._observe(np.ones(self.num_envs, bool))
        info["_final_obs"] = info["_episode"] = ended
        if not ended.any():
            return obs
        info["episode"] = {
            "return": self._return.copy(),
            "length": self._elapsed.copy(),
            "success": self._solved.copy(),
            "success_at_end": self._solved_now.copy(),
        }
        info["final_obs"] = obs
        self._over |= ended
        if self.autoreset_mode is AutoresetMode.DISABLED:
            return {key: values.copy() for key, values in obs.items()}
        self._begin(ended)
        return {key: _where(ended, new, obs[key]) for key, new in self._observe(ended).items()}

    def _begin(self, mask: Mask) -> None:
        if self._rngs is None:
            raise WorldError("the first reset needs a seed, e.g. reset(seed=0)")
        self._start(mask, self._rngs)
        self._elapsed[mask] = 0
        self._return[mask] = 0.0
        self._solved[mask] = self._solved_now[mask] = self._over[mask] = False

    def _mask_of(self, options: Mapping[str, Any] | None) -> Mask:
        mask = (options or {}).get("reset_mask")
        if mask is None:
            return np.ones(self.num_envs, bool)
        mask = np.asarray(mask)
        if mask.shape != (self.num_envs,) or mask.dtype != bool:
            raise ConfigError(f"reset_mask must be ({self.num_envs},) bool, got {mask.shape} {mask.dtype}")
        return np.array(mask, bool)

    def _seed(self, seed: int | Sequence[int], mask: Mask) -> None:
        seeds = [seed + i for i in range(self.num_envs)] if isinstance(seed, int) else list(seed)
        if len(seeds) != self.num_envs or min(seeds) < 0:
            raise ConfigError(f"seeds must be {self.num_envs} numbers >= 0, got {seeds}")
        fresh = [np.random.default_rng(value) for value in seeds]
        old = self._rngs or fresh
        self._rngs = [new if chosen else before for new, before, chosen in zip(fresh, old, mask, strict=True)]

    def _checked(self, actions: NDArray[Any]) -> NDArray[np.float64]:
        if self._rngs is None:
            raise WorldError("call reset(seed=...) before the first step")
        array = np.asarray(actions, dtype=np.float64)
        size = self.single_action_space.shape[0]
        if array.ndim != 3 or array.shape[0] != self.num_envs or array.shape[1] < 1 or array.shape[2] != size:
            raise ConfigError(f"actions must have shape ({self.num_envs}, T, {size}), got {array.shape}")
        if not np.isfinite(array).all():
            world = int(np.argwhere(~np.isfinite(array))[0, 0])
            raise ConfigError(f"actions must be finite numbers, got {array[world].tolist()} for world {world}")
        return array


def _where(mask: Mask, new: NDArray[Any], old: NDArray[Any]) -> NDArray[Any]:
    """Rows of `new` where the mask is set, of `old` elsewhere."""
    return np.where(mask.reshape(-1, *(1,) * (new.ndim - 1)), new, old)
