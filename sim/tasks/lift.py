"""Lift: pick the red cube up, as in robosuite; solved when its centre is 4 cm above the table.

The cube falls from a centimetre. In training its size is drawn as well; the live world has one, of the middle size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from d2ppo_core.data.tasks import ENV_NAMES
from d2ppo_core.objects import OBJECT_PARTS, Poses, object_state, size_of
from sim.tasks.base import Task
from sim.tasks.robosuite_task import RobosuiteTask
from sim.tasks.taps import Rows, Tap, TapKind
from sim.tasks.training import Array, Start, draw_arms, hand_poses, yaw_quat_wxyz

TABLE_HEIGHT_M = 0.8
LIFTED_M = 0.04
"""The cube's centre has to be this far above the table top."""
START_RANGE_M = 0.03
HALF_SIZE_RANGE_M = (0.020, 0.022)
DROP_M = 0.01
"""The cube starts this far above the table."""


def is_lifted(cube_height_m: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether cubes whose centres are this high above the floor are lifted."""
    return np.asarray(cube_height_m > TABLE_HEIGHT_M + LIFTED_M)


@dataclass(frozen=True, kw_only=True)
class Lift(Task):
    """robosuite's Lift."""

    @property
    def object_size(self) -> int:
        """Cube position, orientation, and position relative to the hand."""
        return size_of(OBJECT_PARTS["lift"])

    @property
    def objects(self) -> Mapping[str, str]:
        """The cube."""
        return {"cube": "cube_main"}

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
        cube = Poses(taps["cube_pos"], taps["cube_quat"])
        return object_state(OBJECT_PARTS["lift"], {"cube": cube}, hand_poses(taps))

    def draw(self, rng: np.random.Generator) -> Start:
        """A cube of random size on the table's middle."""
        half_size = tuple(rng.uniform(*HALF_SIZE_RANGE_M) for _ in range(3))
        arms = draw_arms(rng, 1)
        x, y = (rng.uniform(-START_RANGE_M, START_RANGE_M) for _ in range(2))
        quat = yaw_quat_wxyz(rng.uniform(0.0, 2.0 * math.pi))
        pose = np.array([x, y, DROP_M + TABLE_HEIGHT_M + half_size[2], *quat])
        return Start(arm_q_rad=arms, objects={"cube_joint0": pose}, geoms={"cube_g0": {"size": half_size}})


LIFT = Lift(
    name="lift",
    robosuite=RobosuiteTask(env_name=ENV_NAMES["lift"]),
    varied_body="cube_main",
    bundle="lift_image",
)
