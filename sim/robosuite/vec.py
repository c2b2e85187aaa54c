"""robosuite itself behind the vector-environment protocol: the reference, the final evaluator, the way for own tasks.

One process, one world after the other: slow, and exactly what robosuite does. A task of your own fits in as

    RobosuiteVecEnv([RobosuiteEnv(RobosuiteTask(env_name="MyTask", cameras=("agentview",))) for _ in range(2)])

provided that it was registered with robosuite, drives Pandas by OSC_POSE and reports an `object-state`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from d2ppo_core.envs import AutoresetMode, BatchEnv, Box
from d2ppo_core.envs.base import Advance, Mask
from d2ppo_core.envs.protocol import Observation
from d2ppo_core.errors import ConfigError
from d2ppo_core.representations import EE_ABSOLUTE, OSC_DELTA, SIZES
from sim.rendering.offscreen import PictureSize
from sim.robosuite.env import RobosuiteEnv
from sim.tasks.base import CONTROL_HZ


class RobosuiteVecEnv(BatchEnv):
    """Several robosuite worlds; observations are fresh (`RobosuiteEnv.refresh`), rewards as robosuite returns them."""

    def __init__(
        self,
        envs: Sequence[RobosuiteEnv],
        *,
        images: bool = False,
        horizon_steps: int | None = None,
        autoreset_mode: AutoresetMode = AutoresetMode.SAME_STEP,
        terminate_on_success: bool = False,
        action_representation: str = OSC_DELTA,
    ) -> None:
        """Take over `envs`, which are closed with this.

        Args:
            envs: Worlds of one task.
            images: Also observe the task's cameras.
            horizon_steps: Control steps per episode; None takes the task's.
            autoreset_mode: When worlds start again.
            terminate_on_success: End an episode when it is solved.
            action_representation: `osc_delta` or `ee_absolute`, as of `BatchedEnv`.

        Raises:
            ConfigError: no worlds, or worlds of several tasks.
        """
        if not envs or any(env.task != envs[0].task for env in envs):
            raise ConfigError(f"the worlds must be of one task, got {[env.task.env_name for env in envs]}")
        task = envs[0].task
        super().__init__(
            num_envs=len(envs),
            horizon_steps=horizon_steps or task.horizon_steps,
            autoreset_mode=autoreset_mode,
            terminate_on_success=terminate_on_success,
        )
        self.envs, self.images = tuple(envs), images
        shown = envs[0].observe(images=images)
        self.single_observation_space = {key: _box_of(value) for key, value in shown.items()}
        self._representation = action_representation
        size, bound = SIZES[action_representation] * task.num_robots, np.inf if self._takes_goals else 1.0
        self.single_action_space = Box(low=-bound, high=bound, shape=(size,), dtype=np.dtype(np.float32))
        self.metadata: Mapping[str, Any] = {
            "task": task.env_name,
            "control_hz": CONTROL_HZ,
            "action_representation": action_representation,
            "autoreset_mode": autoreset_mode,
            "horizon_steps": self.horizon_steps,
        }

    @classmethod
    def of_task(cls, task: str, num_envs: int, *, image_size_px: PictureSize = 96, **options: Any) -> RobosuiteVecEnv:
        """New worlds of a known task; options as of the constructor.

        Raises:
            ConfigError: unknown task.
            WorldError: robosuite is missing.
        """
        return cls([RobosuiteEnv(task, image_size_px=image_size_px) for _ in range(num_envs)], **options)

    def close(self) -> None:
        """Close the worlds."""
        for env in self.envs:
            env.close()
        self.envs = ()

    @property
    def _takes_goals(self) -> bool:
        return self._representation == EE_ABSOLUTE

    def _start(self, mask: Mask, rngs: Sequence[np.random.Generator]) -> None:
        for i in np.flatnonzero(mask).tolist():
            self.envs[i].reset_with(rngs[i])

    def _advance(self, actions: NDArray[np.float64], steps: NDArray[np.int32]) -> Advance:
        rewards = np.zeros(actions.shape[:2])
        success = np.zeros(actions.shape[:2], bool)
        for i, env in enumerate(self.envs):
            for t in range(steps[i]):
                action = env.deltas(actions[i, t], EE_ABSOLUTE) if self._takes_goals else actions[i, t]
                rewards[i, t] = env.raw.step(action)[1]
                success[i, t] = env.is_success()
        return Advance(rewards, success, *np.zeros((2, self.num_envs), bool))

    def _observe(self, mask: Mask) -> Observation:
        observation = {key: np.zeros(box.shape, box.dtype) for key, box in self.observation_space.items()}
        for i in np.flatnonzero(mask).tolist():
            self.envs[i].refresh()
            for key, value in self.envs[i].observe(images=self.images).items():
                observation[key][i] = value
        return observation


def _box_of(value: NDArray[Any]) -> Box:
    if value.dtype == np.uint8:
        return Box(low=0, high=255, shape=value.shape, dtype=value.dtype)
    return Box(low=-np.inf, high=np.inf, shape=value.shape, dtype=np.dtype(np.float32))
