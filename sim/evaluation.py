"""The reference evaluator: a policy in robosuite itself, in lock-step, without any of the deployed machinery.

What a policy loses between here and the live stack is the price of the deployment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from d2ppo_core.bundle import Manifest
from d2ppo_core.errors import BundleError, ConfigError
from d2ppo_core.geometry import canonical_quat_xyzw
from sim.robosuite_env import RobosuiteEnv

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


@dataclass(frozen=True)
class Evaluation:
    """How all episodes went."""

    episodes: tuple[EpisodeResult, ...]

    @property
    def successes(self) -> int:
        """Number of solved episodes."""
        return sum(episode.success for episode in self.episodes)

    @property
    def success_rate(self) -> float:
        """Share of solved episodes, 0 … 1."""
        return self.successes / len(self.episodes)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(N,) control steps of every episode."""
        return np.array([episode.steps for episode in self.episodes])


def evaluate_in_robosuite(
    policy: ChunkPolicy,
    task: str,
    *,
    episodes: int,
    action_horizon: int,
    seed: int = 0,
    max_steps: int | None = None,
    images: bool = True,
    image_size_px: int = 96,
) -> Evaluation:
    """Run a policy for a number of episodes; a chunk's first `action_horizon` actions are executed open-loop.

    Args:
        policy: Called once per chunk.
        task: Name of the task.
        episodes: Number of episodes; episode i happens in the world of seed `seed + i`.
        action_horizon: Actions executed of each chunk.
        seed: First seed. Demonstrations draw theirs from all 32-bit numbers, small ones are as good as unseen.
        max_steps: Control steps per episode; None takes the task's.
        images: Give the policy pictures.
        image_size_px: Width and height of the pictures.

    Raises:
        ConfigError: Unknown task, or a number that is not positive.
        WorldError: robosuite is missing.
    """
    if episodes < 1 or action_horizon < 1:
        raise ConfigError(f"episodes and action_horizon must be positive, got {episodes} and {action_horizon}")
    with RobosuiteEnv(task, image_size_px=image_size_px) as env:
        results = tuple(
            run_episode(env, policy, seed + i, action_horizon, max_steps or env.task.horizon_steps, images=images)
            for i in range(episodes)
        )
    return Evaluation(results)


def run_episode(
    env: RobosuiteEnv, policy: ChunkPolicy, seed: int, action_horizon: int, max_steps: int, *, images: bool
) -> EpisodeResult:
    """Run one episode until the task is solved or `max_steps` control steps are over.

    Raises:
        ConfigError: The policy answers a chunk shorter than `action_horizon`.
    """
    env.reset(seed)
    for step, action in enumerate(_actions(env, policy, action_horizon, images=images), start=1):
        env.step(action)
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
        yield from np.clip(chunk[:action_horizon], -1.0, 1.0)


class LoadedPolicy(Protocol):
    """What is needed of `d2ppo_core.runtime.policy.Policy`."""

    manifest: Manifest

    def infer(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Sample one chunk (Tp, Da)."""
        ...


class BundlePolicy:
    """Feeds a loaded bundle with robomimic's observations: the graph's inputs in the manifest's order, and noise."""

    def __init__(self, policy: LoadedPolicy, seed: int = 0) -> None:
        """Wrap `policy`; `seed` decides the noise."""
        self._policy = policy
        self._rng = np.random.default_rng(seed)

    def __call__(self, observation: Observation) -> NDArray[np.float32]:
        """Sample one chunk (Tp, Da).

        Raises:
            BundleError: The bundle reads an observation that robosuite does not give.
        """
        return self._policy.infer(self.inputs(observation))

    def inputs(self, observation: Observation) -> dict[str, NDArray[Any]]:
        """The graph's inputs: `state` (1, Ds), `images` (1, Ncam, H, W, 3) where it reads any, `noise` (1, Tp, Da)."""
        manifest = self._policy.manifest
        missing = [spec.key for spec in manifest.observations if spec.key not in observation]
        if missing:
            raise BundleError(f"bundle {manifest.name} reads {', '.join(missing)}; got {', '.join(observation)}")
        state = [_canonical(spec.key, observation[spec.key]) for spec in manifest.state_observations]
        inputs: dict[str, NDArray[Any]] = {
            "state": np.concatenate(state).astype(np.float32)[None],
            "noise": self._rng.standard_normal(manifest.input_shapes["noise"], dtype=np.float32),
        }
        if manifest.image_observations:
            inputs["images"] = np.stack([observation[spec.key] for spec in manifest.image_observations])[None]
        return inputs


def evaluate_bundle(policy: LoadedPolicy, *, episodes: int, seed: int = 0, max_steps: int | None = None) -> Evaluation:
    """Evaluate a loaded bundle in robosuite, with the horizons and pictures that its manifest names.

    Raises:
        BundleError: The bundle reads an observation that robosuite does not give.
        ConfigError: robosuite has no such task.
        WorldError: robosuite is missing.
    """
    manifest = policy.manifest
    cameras = manifest.image_observations
    return evaluate_in_robosuite(
        BundlePolicy(policy, seed),
        manifest.task,
        episodes=episodes,
        action_horizon=manifest.action_horizon,
        seed=seed,
        max_steps=max_steps,
        images=bool(cameras),
        **({"image_size_px": cameras[0].shape[0]} if cameras else {}),
    )


def _canonical(key: str, value: NDArray[Any]) -> NDArray[Any]:
    return canonical_quat_xyzw(value) if key.endswith("_quat") else value
