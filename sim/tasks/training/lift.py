"""Lift: the cube's size, place and yaw are drawn; solved when its centre is 4 cm above the table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.batch.taps import Rows, Tap, TapKind
from sim.tasks.lift import START_RANGE_M, TABLE_HEIGHT_M, is_lifted
from sim.tasks.training.base import Array, Start, TrainingTask, draw_arms, xyzw, yaw_quat_wxyz

HALF_SIZE_RANGE_M = (0.020, 0.022)
DROP_M = 0.01
"""The cube starts this far above the table."""


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


LIFT = LiftTraining(name="lift", varied_body="cube_main")
