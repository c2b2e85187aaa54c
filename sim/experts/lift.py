"""The demonstrator of Lift: approach, descend, grasp, raise; try again when the cube was lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.experts.arm import ArmView, BodyView, wrap_angle
from sim.experts.primitives import CLOSE, OPEN, Command, Goal, move_to, wait
from sim.experts.style import Style

MAX_ATTEMPTS = 3
CLOSING_STEPS = 6
"""Control steps from open to a firm grasp."""
HOLDING_STEPS = 6
"""Control steps for which the cube is held at the top, so that a clone learns to keep it there."""
RAISE_M = 0.12
LOWEST_OFFSET_M = -0.004
"""Lower grasps would push the fingertips into the table."""
DESCENT_SPEED = 0.6
RAISE_SPEED = 0.7
MAX_TURN_RAD = 1.2
"""Second-choice grasps that turn further would come near the limit of the last joint."""


def lift(env: Any, style: Style) -> Iterator[Command]:
    """Yield one command per control step until the cube is held high or the attempts are used up."""
    arm, cube = ArmView(env), BodyView(env, "cube_main")
    table_m = float(env.model.mujoco_arena.table_offset[2])
    for _ in range(MAX_ATTEMPTS):
        yaw_rad = grasp_yaw(arm.yaw_rad, cube.yaw_rad, second_choice=style.second_choice) + style.yaw_offset_rad
        yield from _approach(arm, cube, style, yaw_rad)
        yield from wait(OPEN, style.pause_steps)
        yield from wait(CLOSE, CLOSING_STEPS)
        yield from _raise(arm, style, yaw_rad)
        if cube.position_m[2] > table_m + RAISE_M / 2:
            yield from wait(CLOSE, HOLDING_STEPS)
            return
        style = replace(style, grasp_offset_m=np.zeros(3), yaw_offset_rad=0.0, via_m=None)


def grasp_yaw(hand_yaw_rad: float, cube_yaw_rad: float, *, second_choice: bool) -> float:
    """A heading of the fingers that faces two sides of the cube.

    Four are equivalent. The nearest is taken, or the second nearest where it is asked for and within MAX_TURN_RAD.
    """
    turn_rad = wrap_angle(cube_yaw_rad - hand_yaw_rad, np.pi / 2)
    other_rad = turn_rad - np.copysign(np.pi / 2, turn_rad)
    if second_choice and abs(other_rad) <= MAX_TURN_RAD:
        turn_rad = other_rad
    return hand_yaw_rad + turn_rad


def _approach(arm: ArmView, cube: BodyView, style: Style, yaw_rad: float) -> Iterator[Command]:
    """By the detour, if there is one, to a point above the cube, and down to it."""
    offset_m = np.array([*style.grasp_offset_m[:2], max(style.grasp_offset_m[2], LOWEST_OFFSET_M)])
    sideways_m = offset_m * [1.0, 1.0, 0.0]

    def above(shift_m: NDArray[np.float64]) -> Goal:
        return Goal(position_m=cube.position_m + shift_m, yaw_rad=yaw_rad)

    move = partial(move_to, arm, gripper=OPEN, turn_speed=style.turn_speed)
    if style.via_m is not None:
        via = above(style.via_m)
        yield from move(lambda: via, speed=style.speed, tolerance_m=0.03, tolerance_rad=np.pi)
    hover_m = sideways_m + [0.0, 0.0, style.hover_m]
    yield from move(lambda: above(hover_m), speed=style.speed, tolerance_m=0.015)
    yield from move(lambda: above(offset_m), speed=min(style.speed, DESCENT_SPEED), tolerance_m=style.tolerance_m)


def _raise(arm: ArmView, style: Style, yaw_rad: float) -> Iterator[Command]:
    top = Goal(position_m=arm.position_m + [0.0, 0.0, RAISE_M], yaw_rad=yaw_rad)
    speed = min(style.speed, RAISE_SPEED)
    yield from move_to(
        arm, lambda: top, CLOSE, speed=speed, turn_speed=style.turn_speed, tolerance_m=0.02, max_steps=40
    )
