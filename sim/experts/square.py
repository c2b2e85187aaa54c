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
SEATED_YAW_RAD = np.pi
"""Heading of the nut over the peg, one of the four that fit: its handle towards the arm, which would be stretched out,
at the end of what real ones can do, by any other."""
WRIST_RAD, SEATED_WRIST_RAD = (-1.9, 2.9), (-1.9, 3.3)
"""How far the hand may be turned from home (world frame, seen from above) when it grasps and when the nut is seated,
before the last joint's travel ends."""
LONGEST_TURN_RAD = 3.6
AHEAD_RAD = 1.5
"""The hand is turned towards a heading so far ahead at most, so that a long turn keeps its direction."""


def square(scene: Scene, style: Style) -> Iterator[Command]:
    """Yield one command per control step until the nut sits on the peg or the attempts are used up."""
    arm, nut, peg = ArmView(scene), BodyView(scene, "SquareNut_main"), BodyView(scene, "peg1")
    handle = PointView(scene, "SquareNut_main", HANDLE_M)
    home_rad = arm.yaw_rad
    for _ in range(MAX_ATTEMPTS):
        turn_rad, grasp_rad = ways_to_turn(nut.yaw_rad, home_rad)[-1 if style.second_choice else 0]
        yield from reach_down(
            arm,
            lambda: handle.position_m,
            partial(_across, nut, home_rad + grasp_rad, 0.5 * style.yaw_offset_rad),
            style,
            offset_m=style.grasp_offset_m * OFFSET_SHARE,
            gain=FIRM_GAIN,
        )
        yield from wait(OPEN, style.pause_steps)
        yield from wait(CLOSE, CLOSING_STEPS)
        yield from raise_to(arm, CARRYING_HEIGHT_M, arm.yaw_rad, style)
        if nut.position_m[2] > HELD_ABOVE_M:
            yield from _insert(arm, nut, peg, style, np.sign(turn_rad))
            if scene.is_solved():
                return
        style = careful(style)


def ways_to_turn(nut_yaw_rad: float, home_rad: float) -> list[tuple[float, float]]:
    """How the nut may be turned into its heading, and the hand's turn from home in which it is grasped for that.

    The hand fits the handle in two headings, and turning either way round ends alike; what is left of the four is what
    the wrist can do from grasp to seat, the least turning first.
    """
    least_rad = wrap_angle(SEATED_YAW_RAD - nut_yaw_rad)
    across_rad = wrap_angle(nut_yaw_rad + np.pi / 2 - home_rad, np.pi)
    ways = [
        (float(turn_rad), float(grasp_rad))
        for turn_rad in (least_rad, least_rad - np.copysign(2 * np.pi, least_rad))
        for grasp_rad in (across_rad - np.pi, across_rad, across_rad + np.pi)
        if abs(turn_rad) <= LONGEST_TURN_RAD
        and WRIST_RAD[0] <= grasp_rad <= WRIST_RAD[1]
        and SEATED_WRIST_RAD[0] <= grasp_rad + turn_rad <= SEATED_WRIST_RAD[1]
    ]
    return sorted(ways, key=lambda way: abs(way[0]) + abs(way[1]))


def _across(nut: BodyView, near_rad: float, offset_rad: float) -> float:
    """Heading of the fingers across the handle, wherever the nut has been pushed: of two the one near to another."""
    return near_rad + wrap_angle(nut.yaw_rad + np.pi / 2 + offset_rad - near_rad, np.pi)


def _insert(arm: ArmView, nut: BodyView, peg: BodyView, style: Style, way: float) -> Iterator[Command]:
    """Over the peg, closer, down and open; all relative to the nut, wherever it sits between the fingers.

    `way` is the sign of the direction in which the nut is turned where it has far to go.
    """

    def carry(nut_height_m: float) -> Goal:
        target_m = np.array([*peg.position_m[:2], nut_height_m])
        left_rad = wrap_angle(SEATED_YAW_RAD - nut.yaw_rad)
        if abs(left_rad) > np.pi / 2 and left_rad * way < 0:
            left_rad += np.copysign(2 * np.pi, way)
        turn_rad = np.clip(left_rad, -AHEAD_RAD, AHEAD_RAD)
        return Goal(position_m=arm.position_m + target_m - nut.position_m, yaw_rad=arm.yaw_rad + turn_rad)

    move = partial(move_to, arm, gripper=CLOSE, turn_speed=style.turn_speed, pull=Pull())
    yield from move(lambda: carry(ABOVE_PEG_M), speed=style.speed, tolerance_m=0.012, tolerance_rad=0.1, max_steps=110)
    slow = min(style.speed, 0.5)
    yield from move(lambda: carry(NEAR_PEG_M), speed=slow, tolerance_m=0.005, tolerance_rad=0.05, max_steps=50)
    yield from move(lambda: carry(SEATED_M), speed=slow, tolerance_m=0.02, max_steps=40)
    yield from wait(OPEN, OPENING_STEPS)
    yield from raise_to(arm, arm.position_m[2] + 0.08, arm.yaw_rad, style, OPEN)
