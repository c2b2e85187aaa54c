"""Lift: pick the red cube up. The same start distribution, cameras and predicate as robosuite's Lift."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np
from numpy.typing import NDArray

from sim.tasks.base import Task

TABLE_HEIGHT_M = 0.8
LIFTED_M = 0.04
"""The cube's centre has to be this far above the table top."""
START_RANGE_M = 0.03
CUBE_HALF_SIZE_M = 0.021


@dataclass(frozen=True, kw_only=True)
class Lift(Task):
    """The cube lies anywhere in a 6 cm square in the middle of the table, at any yaw."""

    def sample_start(self, rng: np.random.Generator) -> dict[str, NDArray[np.float64]]:
        """Draw the cube's pose."""
        x, y = rng.uniform(-START_RANGE_M, START_RANGE_M, size=2)
        half_yaw = rng.uniform(0.0, 2.0 * math.pi) / 2.0
        z = TABLE_HEIGHT_M + CUBE_HALF_SIZE_M
        return {"cube_joint0": np.array([x, y, z, math.cos(half_yaw), 0.0, 0.0, math.sin(half_yaw)])}

    def is_success(self, data: mujoco.MjData) -> bool:
        """Tell whether the cube's centre is more than 4 cm above the table top, as robosuite does."""
        return bool(is_lifted(data.body("cube_main").xpos[2]))


def is_lifted(cube_height_m: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether cubes whose centres are this high above the floor are lifted."""
    return np.asarray(cube_height_m > TABLE_HEIGHT_M + LIFTED_M)


LIFT = Lift(
    name="lift",
    model_path=Path(__file__).parents[1] / "assets" / "lift" / "lift.xml",
    home_q_rad=(0.0, math.pi / 16, 0.0, -math.pi / 2 - math.pi / 3, 0.0, math.pi - 0.2, math.pi / 4),
    start_width_m=0.0417,
    cameras={"wrist": "robot0_eye_in_hand", "scene": "agentview"},
)
