"""Pose of the end effector in the base frame, of any kinematic data; read every millisecond."""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray


class SitePose:
    """Where a site is, seen from a body that stands still."""

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData, site: int, base: int) -> None:
        """Watch `data`, whose kinematics somebody else keeps up to date; `site` and `base` are numbers of the model."""
        anywhere = mujoco.MjData(model)
        mujoco.mj_kinematics(model, anywhere)
        self.base = np.eye(4)
        """(4, 4) pose of the base in the world."""
        self.base[:3, :3], self.base[:3, 3] = anywhere.xmat[base].reshape(3, 3), anywhere.xpos[base]
        self._from_world = np.linalg.inv(self.base)
        self._rotation, self._position = data.site_xmat[site].reshape(3, 3), data.site_xpos[site]
        self._world = np.eye(4)
        self._world_rotation, self._world_position = self._world[:3, :3], self._world[:3, 3]

    def matrix(self) -> NDArray[np.float64]:
        """(4, 4) of the site in the base frame, a new array."""
        self._world_rotation[:], self._world_position[:] = self._rotation, self._position
        pose: NDArray[np.float64] = self._from_world.dot(self._world)  # this small, dot costs a fifth of @
        return pose
