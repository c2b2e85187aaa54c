"""What a demonstrator sees of a world that lives in another process: its positions, looked at by the experts' names."""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray

from d2ppo_core.errors import WorldError
from sim.experts.scene import Scene
from sim.tasks.base import Task


class LiveView:
    """A copy of a live world's model that is put where the world is; it never moves by itself."""

    def __init__(self, task: Task) -> None:
        """Compile the model with the sites that experts look at.

        Raises:
            WorldError: the model file is missing or broken.
        """
        try:
            spec = mujoco.MjSpec.from_file(str(task.model_path))
            for arm in range(len(task.arms)):
                spec.body(f"robot{arm}_base").add_site(name=f"robot{arm}_right_center")
            model = spec.compile()
        except ValueError as error:
            raise WorldError(f"cannot load {task.model_path.name}: {error}") from error
        self._solved = False
        self._data = mujoco.MjData(model)
        self.scene = Scene(model=model, data=self._data, is_solved=lambda: self._solved)

    def see(self, qpos: NDArray[np.float64], solved: bool) -> None:
        """Take over positions (nq,), and whether the task is solved.

        Raises:
            WorldError: they are of another world.
        """
        if qpos.shape != self._data.qpos.shape:
            raise WorldError(f"this world has {len(self._data.qpos)} positions, got {len(qpos)}: is it another task's?")
        self._data.qpos[:], self._solved = qpos, solved
        mujoco.mj_kinematics(self.scene.model, self._data)
