"""Whole episodes with fixed seeds: the way a policy's success is measured."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
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
    stages: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    """Name -> (E,) seen at least once, at the beginning or after a chunk; in the order in which they should happen."""

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
    begin: Callable[[Sequence[int], Sequence[int]], None] = lambda worlds, seeds: None,
    progress: Callable[[int], None] = lambda done: None,
) -> Episodes:
    """Run one episode per seed, as many at a time as there are worlds; one that gets free takes the next seed.

    Args:
        env: With autoreset DISABLED.
        act: Asked for all worlds at once; answers for worlds without an episode are ignored.
        action_horizon: Actions executed of each chunk.
        seeds: Of the worlds.
        begin: Told in which worlds episodes of which seeds begin, before they are acted in.
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
    reached: dict[str, NDArray[np.bool_]] = {}

    def look(obs: Observation) -> None:
        """Take note of the stages that hold in the worlds that run an episode."""
        running = episode >= 0
        for name, holds in env.stages(obs).items():
            reached.setdefault(name, np.zeros(len(seeds), bool))[episode[running]] |= holds[running]

    episode = np.full(env.num_envs, -1)  # which one each world runs; -1: none
    started = ended = 0
    obs: Observation = {}
    while ended < len(seeds):
        free = np.flatnonzero(episode < 0)[: len(seeds) - started]
        if len(free):
            episode[free] = np.arange(started, started + len(free))
            started += len(free)
            obs = _reset(env, free, [seeds[i] for i in episode[free]])
            look(obs)
            begin(free.tolist(), [seeds[i] for i in episode[free]])
        chunks = act(obs)[:, :action_horizon]
        outcome = env.step_chunk(np.where((episode >= 0)[:, None, None], chunks, 0.0))
        obs = outcome.obs
        look(obs)
        over = (episode >= 0) & (outcome.terminated | outcome.truncated)
        if over.any():
            success[episode[over]] = outcome.info["episode"]["success"][over]
            steps[episode[over]] = outcome.info["episode"]["length"][over]
            episode[over] = -1
            ended += int(over.sum())
            progress(ended)
    return Episodes(seeds=tuple(seeds), success=success, steps=steps, stages=reached)


def _reset(env: VecEnv, worlds: NDArray[np.intp], seeds: Sequence[int]) -> Observation:
    """Start episodes in some worlds; returns what all worlds show."""
    mask, padded = np.zeros(env.num_envs, bool), [0] * env.num_envs
    for world, seed in zip(worlds, seeds, strict=True):
        mask[world], padded[world] = True, seed
    return env.reset(seed=padded, options={"reset_mask": mask})[0]
