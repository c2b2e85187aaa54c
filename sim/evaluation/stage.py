"""One world to look at, whoever steps it: robosuite, or a batched world for the tasks that robosuite does not have."""

from __future__ import annotations

from typing import Any, Protocol

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
from sim.tasks.robosuite_task import RobosuiteTask


class Stage(Protocol):
    """What an episode needs that is filmed; `RobosuiteEnv` is one."""

    task: RobosuiteTask
    image_size_px: PictureSize

    @property
    def model(self) -> mujoco.MjModel:
        """With all that a camera sees."""

    @property
    def data(self) -> mujoco.MjData:
        """Of that model, now."""

    def reset(self, seed: int) -> None:
        """Start the episode of a seed."""

    def load(self, model_xml: str) -> None:
        """Put back a saved model."""

    def step(self, action: NDArray[np.floating[Any]]) -> None:
        """Advance by one control step."""

    def deltas(self, action: NDArray[np.floating[Any]], representation: str = OSC_DELTA) -> NDArray[np.floating[Any]]:
        """What to `step` with for a policy's action."""

    def state(self) -> NDArray[np.float64]:
        """(1 + nq + nv,) robomimic's flattened state."""

    def set_state(self, state: NDArray[np.float64]) -> None:
        """Put it back."""

    def observe(self, *, images: bool) -> dict[str, NDArray[Any]]:
        """Observation of the present state, with or without pictures."""

    def is_success(self) -> bool:
        """Whether the task is solved now."""


class BatchedStage(Closing):
    """A batched world by itself; methods as in `Stage`."""

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
        """As `Stage.reset`."""
        self._env.reset(seed=[seed])
        self._look(solved=False)

    def load(self, model_xml: str) -> None:
        """A world of this kind has one model."""

    def step(self, action: NDArray[np.floating[Any]]) -> None:
        """As `Stage.step`."""
        self._look(solved=bool(self._env.step(np.asarray(action, np.float64)[None])[4]["success"][0]))

    def deltas(self, action: NDArray[np.floating[Any]], representation: str = OSC_DELTA) -> NDArray[np.floating[Any]]:
        """As `Stage.deltas`."""
        if representation != EE_ABSOLUTE:
            return np.asarray(np.clip(action, -1.0, 1.0))
        site, hand = self.data.site("gripper0_right_grip_site"), self.data.body("robot0_right_hand")
        base = self.data.site("robot0_right_center").xmat.reshape(1, 3, 3)
        goals, position = np.asarray(action)[None], site.xpos[None, None]
        return np.asarray(deltas_from_goals(goals, position, hand.xmat.reshape(1, 1, 3, 3), base)[0])

    def state(self) -> NDArray[np.float64]:
        """As `Stage.state`."""
        return np.asarray(self._env.states()[0])

    def set_state(self, state: NDArray[np.float64]) -> None:
        """As `Stage.set_state`."""
        self._env.set_states(state[None])
        self._look(solved=False)

    def observe(self, *, images: bool) -> dict[str, NDArray[Any]]:
        """As `Stage.observe`."""
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
        """As `Stage.is_success`."""
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


def open_stage(task: str) -> RobosuiteEnv | BatchedStage:
    """A stage of the task: robosuite where it has it. Raises as `RobosuiteEnv` and `BatchedStage`."""
    return RobosuiteEnv(task) if task_named(task).in_robosuite else BatchedStage(task)
