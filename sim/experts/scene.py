"""What an expert may look at: the true state of one world, whoever steps it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One world with robosuite's names of bodies, geoms and sites."""

    model: mujoco.MjModel
    data: mujoco.MjData
    is_solved: Callable[[], bool]
    """Whether the task is solved after the latest control step."""

    def arm_joints_rad(self, states: NDArray[np.float64], num_arms: int) -> NDArray[np.float64]:
        """(T, A, 7) of robomimic's flattened states (T, 1 + nq + nv)."""
        first = [int(self.model.joint(f"robot{arm}_joint1").qposadr[0]) for arm in range(num_arms)]
        return np.stack([states[:, 1 + address : 8 + address] for address in first], axis=1)
