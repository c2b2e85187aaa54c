"""Lift: pick the red cube up, as in robosuite; solved when its centre is 4 cm above the table.

In training the cube's size is drawn as well, and it falls from a centimetre; the live world has one cube, on the table.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from d2ppo_core.data.tasks import ENV_NAMES
from sim.tasks.base import ASSETS, Task
from sim.tasks.deployed import ONE_ARM_CAMERAS
from sim.tasks.robosuite_task import RobosuiteTask
from sim.tasks.taps import Rows, Tap, TapKind
from sim.tasks.training import HOME_Q_RAD, Array, Start, TrainingTask, draw_arms, xyzw, yaw_quat_wxyz

TABLE_HEIGHT_M = 0.8
LIFTED_M = 0.04
"""The cube's centre has to be this far above the table top."""
START_RANGE_M = 0.03
CUBE_HALF_SIZE_M = 0.021
HALF_SIZE_RANGE_M = (0.020, 0.022)
DROP_M = 0.01
"""The cube starts this far above the table."""


def is_lifted(cube_height_m: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether cubes whose centres are this high above the floor are lifted."""
    return np.asarray(cube_height_m > TABLE_HEIGHT_M + LIFTED_M)


@dataclass(frozen=True, kw_only=True)
class LiftTraining(TrainingTask):
    """robosuite's Lift."""

    @property
    def object_size(self) -> int:
        """Cube position, orientation, and position relative to the hand."""
        return 10

    @property
    def success_taps(self) -> Mapping[str, Tap]:
        """The cube's position."""
        return {"cube_pos": Tap(TapKind.BODY_POSITION, ("cube_main",))}

    @property
    def object_taps(self) -> Mapping[str, Tap]:
        """The cube's pose."""
        return {**self.success_taps, "cube_quat": Tap(TapKind.BODY_QUAT_WXYZ, ("cube_main",))}

    def success(self, taps: Rows) -> NDArray[np.bool_]:
        """Whether the cube is lifted."""
        return is_lifted(taps["cube_pos"][..., 2])

    def object_state(self, taps: Rows) -> Array:
        """The observation `object`, (..., 10)."""
        relative = taps["cube_pos"] - taps["robot0_eef_pos"]
        return np.concatenate([taps["cube_pos"], xyzw(taps["cube_quat"]), relative], axis=-1)

    def draw(self, rng: np.random.Generator) -> Start:
        """A cube of random size on the table's middle."""
        half_size = tuple(rng.uniform(*HALF_SIZE_RANGE_M) for _ in range(3))
        arms = draw_arms(rng, 1)
        x, y = (rng.uniform(-START_RANGE_M, START_RANGE_M) for _ in range(2))
        quat = yaw_quat_wxyz(rng.uniform(0.0, 2.0 * math.pi))
        pose = np.array([x, y, DROP_M + TABLE_HEIGHT_M + half_size[2], *quat])
        return Start(arm_q_rad=arms, objects={"cube_joint0": pose}, geoms={"cube_g0": {"size": half_size}})


@dataclass(frozen=True, kw_only=True)
class DeployedLift(Task):
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


LIFT = LiftTraining(name="lift", robosuite=RobosuiteTask(env_name=ENV_NAMES["lift"]), varied_body="cube_main")
LIFT_TASK = DeployedLift(
    name="lift",
    model_path=ASSETS / "lift" / "lift.xml",
    home_q_rad=HOME_Q_RAD,
    start_width_m=0.0417,
    cameras=ONE_ARM_CAMERAS,
)
