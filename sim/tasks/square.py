"""Square: put the square nut over the square peg."""

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

TABLE_HEIGHT_M = 0.82
DROP_M = 0.02
PEG_M = (0.23, 0.1)
REACH_M = 0.03
"""Largest distance from the peg along x and along y."""
ON_PEG_HEIGHT_M = 0.05
NUT_X_M = (-0.115, -0.11)
SQUARE_NUT = Item(joint="SquareNut_joint0", radius_m=0.11, top_m=0.01, bottom_m=-0.05)
ROUND_NUT = Item(joint="RoundNut_joint0", radius_m=0.11, top_m=0.025, bottom_m=-0.05)


@dataclass(frozen=True, kw_only=True)
class Square(OneObjectTask):
    """robosuite's NutAssemblySquare; the round nut is placed, then parked outside."""

    def success(self, taps: Rows) -> NDArray[np.bool_]:
        """Whether the nut is down on the peg and the hand let go."""
        return on_peg(taps["object_pos"]) & self.released(taps)

    def over_place(self, position_m: Array) -> NDArray[np.bool_]:
        """Whether positions (..., 3) are above the peg."""
        return beside_peg(position_m)

    def draw(self, rng: np.random.Generator) -> Start:
        """A nut on the left of the table, at any yaw."""
        arms = draw_arms(rng, 1)
        placed: dict[str, tuple[Item, Array]] = {}
        for item, y in ((SQUARE_NUT, (0.11, 0.225)), (ROUND_NUT, (-0.225, -0.11))):
            region = Region(x_m=NUT_X_M, y_m=y, reference_m=(0.0, 0.0, TABLE_HEIGHT_M), drop_m=DROP_M)
            place(rng, item, region, placed)
        return Start(arm_q_rad=arms, objects={SQUARE_NUT.joint: placed[SQUARE_NUT.joint][1]})


def on_peg(position_m: Array) -> NDArray[np.bool_]:
    """Whether nuts at these positions (..., 3) surround the peg."""
    return np.asarray(beside_peg(position_m) & (position_m[..., 2] < TABLE_HEIGHT_M + ON_PEG_HEIGHT_M))


def beside_peg(position_m: Array) -> NDArray[np.bool_]:
    """Whether positions (..., 3) are so near to the peg's axis that a nut there surrounds it."""
    return np.asarray((np.abs(position_m[..., :2] - np.array(PEG_M)) < REACH_M).all(axis=-1))


SQUARE = Square(
    name="square",
    robosuite=RobosuiteTask(env_name=ENV_NAMES["square"], cameras=("agentview",), horizon_steps=400),
    called="nut",
    body="SquareNut_main",
    raised_m=0.9,
    parked=("RoundNut_main",),
    bundle="square_state",
)
