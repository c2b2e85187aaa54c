"""The demonstrator of Square: grasp the nut by its handle, turn it to fit, lower it over the peg, let go."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from sim.experts.arm import ArmView, BodyView, PointView, wrap_angle
from sim.experts.pick import careful, raise_to, reach_down
from sim.experts.primitives import CLOSE, FIRM_GAIN, OPEN, Command, Goal, Pull, move_to, wait
from sim.experts.scene import Scene
from sim.experts.style import Style

HANDLE_M = (0.054, 0.0, 0.0)
"""Middle of the handle in the nut's frame; robosuite has a site there."""
MAX_ATTEMPTS = 3
CLOSING_STEPS = 7
OPENING_STEPS = 6
OFFSET_SHARE = np.array([1.0, 1.0, 0.3])
"""The nut is thin: less of a style's error in height."""
CARRYING_HEIGHT_M = 1.02
HELD_ABOVE_M = 0.9
ABOVE_PEG_M = 1.0
NEAR_PEG_M = 0.975
"""Just above the peg's top, at 0.95."""
SEATED_M = 0.86
MAX_TURN_RAD = 1.2


def square(scene: Scene, style: Style) -> Iterator[Command]:
    """Yield one command per control step until the nut sits on the peg or the attempts are used up."""
    arm, nut, peg = ArmView(scene), BodyView(scene, "SquareNut_main"), BodyView(scene, "peg1")
    handle = PointView(scene, "SquareNut_main", HANDLE_M)

    def grasp_yaw(offset_rad: float) -> float:
        across_rad = nut.yaw_rad + np.pi / 2 + offset_rad
        return arm.yaw_rad + wrap_angle(across_rad - arm.yaw_rad, np.pi)

    for _ in range(MAX_ATTEMPTS):
        yield from reach_down(
            arm,
            lambda: handle.position_m,
            partial(grasp_yaw, 0.5 * style.yaw_offset_rad),
            style,
            offset_m=style.grasp_offset_m * OFFSET_SHARE,
            gain=FIRM_GAIN,
        )
        yield from wait(OPEN, style.pause_steps)
        yield from wait(CLOSE, CLOSING_STEPS)
        yield from raise_to(arm, CARRYING_HEIGHT_M, arm.yaw_rad, style)
        if nut.position_m[2] > HELD_ABOVE_M:
            yield from _insert(arm, nut, peg, style)
            if scene.is_solved():
                return
        style = careful(style)


def seated_yaw(nut_yaw_rad: float, *, second_choice: bool) -> float:
    """Heading of the nut in which it fits over the peg: the nearest of four, or the second nearest within reach."""
    nearest_rad = float(np.round(nut_yaw_rad / (np.pi / 2)) * np.pi / 2)
    behind_rad = wrap_angle(nut_yaw_rad - nearest_rad)
    other_rad = nearest_rad + np.copysign(np.pi / 2, behind_rad)
    return float(other_rad) if second_choice and abs(other_rad - nut_yaw_rad) <= MAX_TURN_RAD else nearest_rad


def _insert(arm: ArmView, nut: BodyView, peg: BodyView, style: Style) -> Iterator[Command]:
    """Over the peg, closer, down and open; all relative to the nut, wherever it sits between the fingers."""
    fit_rad = seated_yaw(nut.yaw_rad, second_choice=style.second_choice)

    def carry(nut_height_m: float) -> Goal:
        target_m = np.array([*peg.position_m[:2], nut_height_m])
        turn_rad = wrap_angle(fit_rad - nut.yaw_rad)
        return Goal(position_m=arm.position_m + target_m - nut.position_m, yaw_rad=arm.yaw_rad + turn_rad)

    move = partial(move_to, arm, gripper=CLOSE, turn_speed=style.turn_speed, pull=Pull())
    yield from move(lambda: carry(ABOVE_PEG_M), speed=style.speed, tolerance_m=0.012, tolerance_rad=0.1, max_steps=110)
    slow = min(style.speed, 0.5)
    yield from move(lambda: carry(NEAR_PEG_M), speed=slow, tolerance_m=0.005, tolerance_rad=0.05, max_steps=50)
    yield from move(lambda: carry(SEATED_M), speed=slow, tolerance_m=0.02, max_steps=40)
    yield from wait(OPEN, OPENING_STEPS)
    yield from raise_to(arm, arm.position_m[2] + 0.08, arm.yaw_rad, style, OPEN)
