"""Can: move the can from the left bin into its quarter of the right one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from d2ppo_core.data.tasks import ENV_NAMES
from sim.tasks.placement import Item, Region, place
from sim.tasks.relative import OneObjectTask
from sim.tasks.robosuite_task import RobosuiteTask
from sim.tasks.taps import Rows
from sim.tasks.training import Array, Start, draw_arms

BIN_SIZE_M = (0.39, 0.49)
START_BIN_M = (0.1, -0.25, 0.8)
GOAL_BIN_M = (0.1, 0.28, 0.8)
GOAL_HEIGHT_M = 0.1
WALL_M = 0.05
ITEMS = (
    Item(joint="Milk_joint0", radius_m=0.025, top_m=0.075, bottom_m=-0.085),
    Item(joint="Bread_joint0", radius_m=0.03, top_m=0.03, bottom_m=-0.045),
    Item(joint="Cereal_joint0", radius_m=0.04, top_m=0.03, bottom_m=-0.1),
    Item(joint="Can_joint0", radius_m=0.025, top_m=0.04, bottom_m=-0.06),
)
MARKERS = 4
"""Objects that mark the goals; robosuite draws their fixed places too."""


@dataclass(frozen=True, kw_only=True)
class Can(OneObjectTask):
    """robosuite's PickPlaceCan; all four objects are placed, then all but the can are parked outside."""

    def success(self, taps: Rows) -> NDArray[np.bool_]:
        """Whether the can lies in its quarter of the goal bin and the hand let go."""
        return in_goal(taps["object_pos"]) & self.released(taps)

    def over_place(self, position_m: Array) -> NDArray[np.bool_]:
        """Whether positions (..., 3) are above the can's quarter of the goal bin."""
        beyond = position_m[..., :2] - GOAL_BIN_M[:2]
        return np.asarray(((beyond > 0) & (beyond < np.array(BIN_SIZE_M) / 2)).all(axis=-1))

    def draw(self, rng: np.random.Generator) -> Start:
        """A can anywhere in the start bin."""
        arms = draw_arms(rng, 1)
        x, y = (size / 2 - WALL_M for size in BIN_SIZE_M)
        region = Region(x_m=(-x, x), y_m=(-y, y), reference_m=START_BIN_M, keep_inside=True)
        placed: dict[str, tuple[Item, Array]] = {}
        for item in ITEMS:
            place(rng, item, region, placed)
        rng.uniform(size=2 * MARKERS)
        return Start(arm_q_rad=arms, objects={"Can_joint0": placed["Can_joint0"][1]})


def in_goal(position_m: Array) -> NDArray[np.bool_]:
    """Whether positions (..., 3) are inside the can's quarter."""
    low = np.array(GOAL_BIN_M)
    high = low + [BIN_SIZE_M[0] / 2, BIN_SIZE_M[1] / 2, GOAL_HEIGHT_M]
    return np.asarray(((low < position_m) & (position_m < high)).all(axis=-1))


CAN = Can(
    name="can",
    robosuite=RobosuiteTask(env_name=ENV_NAMES["can"]),
    called="can",
    body="Can_main",
    raised_m=0.93,
    parked=("Milk_main", "Bread_main", "Cereal_main"),
    bundle="can_state",
)
