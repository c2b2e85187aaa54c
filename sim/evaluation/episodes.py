"""A policy in robosuite itself, in lock-step and without any of the deployed machinery.

What a policy loses between here and the live stack is the price of the deployment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from d2ppo_core.errors import ConfigError
from d2ppo_core.evaluation.late import LateActor
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
    stages: Mapping[str, bool]
    """What was seen on the way, at the beginning or after a chunk."""


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
    reached: dict[str, bool] = {}

    def look(observation: Observation) -> Observation:
        for name, holds in env.stages(observation).items():
            reached[name] = reached.get(name, False) or holds
        return observation

    step, over = 0, False
    while not over:
        env.refresh()  # after a step, what follows from positions is a substep old
        chunk = np.asarray(policy(look(env.observe(images=images))))
        if chunk.ndim != 2 or len(chunk) < action_horizon:
            raise ConfigError(f"a chunk must hold at least {action_horizon} actions, got shape {chunk.shape}")
        for action in chunk[:action_horizon]:
            env.step(env.deltas(action, representation))
            step += 1
            if over := env.is_success() or step >= max_steps:
                break
    success = env.is_success()
    env.refresh()
    look(env.observe(images=False))
    return EpisodeResult(seed=seed, success=success, steps=step, stages=reached)


def seeded_policy(sampler: Sampler, seed: int) -> ChunkPolicy:
    """The policy of one episode: its noise depends on the seed and the number of the chunk alone."""
    return alone(SeededActor(sampler, 1), seed)


def alone(actor: SeededActor | LateActor, seed: int) -> ChunkPolicy:
    """What acts in many worlds, in the only world of an episode."""
    actor.begin([0], [seed])
    return lambda observation: actor({key: value[None] for key, value in observation.items()})[0]
