"""A policy in robosuite itself, in lock-step and without any of the deployed machinery.

What a policy loses between here and the live stack is the price of the deployment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from d2ppo_core.errors import ConfigError
from d2ppo_core.evaluation.noise import SeededActor
from d2ppo_core.evaluation.samplers import Sampler
from d2ppo_core.representations import OSC_DELTA
from sim.robosuite.env import RobosuiteEnv

Observation = Mapping[str, NDArray[Any]]
ChunkPolicy = Callable[[Observation], NDArray[np.floating[Any]]]
"""Takes robomimic's observations of the present state, answers a chunk of actions (Tp, Da)."""


@dataclass(frozen=True, kw_only=True)
class EpisodeResult:
    """How one episode went."""

    seed: int
    """Seed of the world."""
    success: bool
    """The task was solved after at least one control step."""
    steps: int
    """Control steps until it was solved, or until the time was over."""


def run_episode(
    env: RobosuiteEnv,
    policy: ChunkPolicy,
    seed: int,
    action_horizon: int,
    max_steps: int,
    *,
    images: bool,
    representation: str = OSC_DELTA,
) -> EpisodeResult:
    """Run one episode until the task is solved or `max_steps` control steps are over.

    Args:
        env: The world.
        policy: Acts in it.
        seed: Of the world.
        action_horizon: Actions executed of each chunk.
        max_steps: Control steps after which it has failed.
        images: Show the policy the cameras' pictures.
        representation: What the policy's actions mean.

    Raises:
        ConfigError: The policy answers a chunk shorter than `action_horizon`.
    """
    env.reset(seed)
    for step, action in enumerate(_actions(env, policy, action_horizon, images=images), start=1):
        env.step(env.deltas(action, representation))
        if env.is_success() or step >= max_steps:
            return EpisodeResult(seed=seed, success=env.is_success(), steps=step)
    raise ConfigError("the policy stopped acting")


def _actions(
    env: RobosuiteEnv, policy: ChunkPolicy, action_horizon: int, *, images: bool
) -> Iterator[NDArray[np.floating[Any]]]:
    """Chunk after chunk; each is computed from the fresh observation when the one before is used up."""
    while True:
        env.refresh()  # after a step, what follows from positions is a substep old
        chunk = np.asarray(policy(env.observe(images=images)))
        if chunk.ndim != 2 or len(chunk) < action_horizon:
            raise ConfigError(f"a chunk must hold at least {action_horizon} actions, got shape {chunk.shape}")
        yield from chunk[:action_horizon]


def seeded_policy(sampler: Sampler, seed: int) -> ChunkPolicy:
    """The policy of one episode: its noise depends on the seed and the number of the chunk alone."""
    actor = SeededActor(sampler, 1)
    actor.begin([0], [seed])
    return lambda observation: actor({key: value[None] for key, value in observation.items()})[0]
