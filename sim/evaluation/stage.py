"""One world to look at, whoever steps it: robosuite, or a batched world for the tasks that robosuite does not have."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from d2ppo_core.actions import deltas_from_goals
from d2ppo_core.closing import Closing
from d2ppo_core.envs import AutoresetMode
from d2ppo_core.representations import EE_ABSOLUTE, OSC_DELTA
from sim.assets.saved import load_picture_model
from sim.batch.env import BatchedEnv
from sim.batch.pictures import Pictures
from sim.rendering.offscreen import PictureSize
from sim.robosuite.env import RobosuiteEnv
from sim.tasks import task_named


class BatchedStage(Closing):
    """A batched world by itself, with the methods of `RobosuiteEnv` that an episode needs which is filmed."""

    image_size_px: PictureSize

    def __init__(self, task: str) -> None:
        """Build the world. Raises ConfigError for an unknown task, WorldError where it cannot be built."""
        self._name, self.image_size_px = task, 96
        self.task = task_named(task).robosuite
        self._env = BatchedEnv(task, 1, num_threads=1, autoreset_mode=AutoresetMode.DISABLED, shortcuts=False)
        self.model = load_picture_model(task)
        self.data = mujoco.MjData(self.model)
        self._pictures: Pictures | None = None
        self._solved = False

    def reset(self, seed: int) -> None:
        """As `RobosuiteEnv.reset`."""
        self._env.reset(seed=[seed])
        self._look(solved=False)

    def load(self, model_xml: str) -> None:
        """A world of this kind has one model."""

    def step(self, action: NDArray[np.floating[Any]]) -> None:
        """As `RobosuiteEnv.step`."""
        self._look(solved=bool(self._env.step(np.asarray(action, np.float64)[None])[4]["success"][0]))

    def deltas(self, action: NDArray[np.floating[Any]], representation: str = OSC_DELTA) -> NDArray[np.floating[Any]]:
        """As `RobosuiteEnv.deltas`."""
        if representation != EE_ABSOLUTE:
            return np.asarray(np.clip(action, -1.0, 1.0))
        site, hand = self.data.site("gripper0_right_grip_site"), self.data.body("robot0_right_hand")
        base = self.data.site("robot0_right_center").xmat.reshape(1, 3, 3)
        goals, position = np.asarray(action)[None], site.xpos[None, None]
        return np.asarray(deltas_from_goals(goals, position, hand.xmat.reshape(1, 1, 3, 3), base)[0])

    def state(self) -> NDArray[np.float64]:
        """As `RobosuiteEnv.state`."""
        return np.asarray(self._env.states()[0])

    def set_state(self, state: NDArray[np.float64]) -> None:
        """As `RobosuiteEnv.set_state`."""
        self._env.set_states(state[None])
        self._look(solved=False)

    def observe(self, *, images: bool) -> dict[str, NDArray[Any]]:
        """As `RobosuiteEnv.observe`."""
        layout, kernel = self._env.layout, self._env.kernel
        taps = layout.observation_taps.split(kernel.observations[0])
        seen: dict[str, NDArray[Any]] = dict(self._env.task.observe(taps))
        if images:
            if self._pictures is None:
                self._pictures = Pictures(self._name, self.task.cameras, self.image_size_px, 1)
            drawn = self._pictures.draw(np.ones(1, bool), [kernel.data[0].qpos])
            seen |= {key: pictures[0] for key, pictures in drawn.items()}
        return seen

    def is_success(self) -> bool:
        """As `RobosuiteEnv.is_success`."""
        return self._solved

    def close(self) -> None:
        """Free everything."""
        self._env.close()
        if self._pictures is not None:
            self._pictures.close()

    def _look(self, *, solved: bool) -> None:
        self._solved = solved
        self.data.qpos[:] = self._env.kernel.data[0].qpos
        mujoco.mj_forward(self.model, self.data)


Stage = RobosuiteEnv | BatchedStage


def open_stage(task: str) -> Stage:
    """A stage of the task: robosuite where it has it. Raises as either's constructor."""
    return RobosuiteEnv(task) if task_named(task).in_robosuite else BatchedStage(task)
