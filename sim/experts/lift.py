"""The demonstrator of Lift: approach, descend, grasp, raise; try again when the cube was lost."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from sim.experts.arm import ArmView, BodyView, wrap_angle
from sim.experts.pick import careful, raise_to, reach_down
from sim.experts.primitives import CLOSE, OPEN, Command, wait
from sim.experts.scene import Scene
from sim.experts.style import Style
from sim.tasks.lift import TABLE_HEIGHT_M

MAX_ATTEMPTS = 3
CLOSING_STEPS = 6
"""Control steps from open to a firm grasp."""
HOLDING_STEPS = 6
"""Control steps for which the cube is held at the top, so that a clone learns to keep it there."""
RAISE_M = 0.12
LOWEST_OFFSET_M = -0.004
"""Lower grasps would push the fingertips into the table."""
MAX_TURN_RAD = 1.2
"""Second-choice grasps that turn further would come near the limit of the last joint."""


def lift(scene: Scene, style: Style) -> Iterator[Command]:
    """Yield one command per control step until the cube is held high or the attempts are used up."""
    arm, cube = ArmView(scene), BodyView(scene, "cube_main")
    for _ in range(MAX_ATTEMPTS):
        yaw_rad = grasp_yaw(arm.yaw_rad, cube.yaw_rad, second_choice=style.second_choice) + style.yaw_offset_rad
        yield from reach_down(
            arm, lambda: cube.position_m, partial(float, yaw_rad), style, offset_m=_grasp_offset(style)
        )
        yield from wait(OPEN, style.pause_steps)
        yield from wait(CLOSE, CLOSING_STEPS)
        yield from raise_to(arm, arm.position_m[2] + RAISE_M, yaw_rad, style)
        if cube.position_m[2] > TABLE_HEIGHT_M + RAISE_M / 2:
            yield from wait(CLOSE, HOLDING_STEPS)
            return
        style = careful(style)


def grasp_yaw(hand_yaw_rad: float, cube_yaw_rad: float, *, second_choice: bool) -> float:
    """A heading of the fingers that faces two sides of the cube.

    Four are equivalent. The nearest is taken, or the second nearest where it is asked for and within MAX_TURN_RAD.
    """
    turn_rad = wrap_angle(cube_yaw_rad - hand_yaw_rad, np.pi / 2)
    other_rad = turn_rad - np.copysign(np.pi / 2, turn_rad)
    if second_choice and abs(other_rad) <= MAX_TURN_RAD:
        turn_rad = other_rad
    return hand_yaw_rad + turn_rad


def _grasp_offset(style: Style) -> NDArray[np.float64]:
    return np.array([*style.grasp_offset_m[:2], max(style.grasp_offset_m[2], LOWEST_OFFSET_M)])
