"""Grasping from above, which all tasks have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from sim.experts.arm import ArmView
from sim.experts.primitives import CLOSE, OPEN, TRANSLATION_GAIN, Command, Goal, Pull, move_to
from sim.experts.style import Style

DESCENT_SPEED = 0.6
RAISE_SPEED = 0.7

Point = Callable[[], NDArray[np.float64]]
"""(3,) where something is now, m, world frame."""


def reach_down(
    arm: ArmView,
    point: Point,
    yaw: Callable[[], float],
    style: Style,
    *,
    offset_m: NDArray[np.float64],
    gain: float = TRANSLATION_GAIN,
    pull: Pull | None = None,
) -> Iterator[Command]:
    """With open fingers by the detour, if there is one, to a point above `point`, and down to it.

    Args:
        arm: The arm.
        point: Where to grasp; may move.
        yaw: Heading of the fingers, rad; may turn.
        style: Speed, detour, height of the hover and tolerance.
        offset_m: (3,) the style's error of the grasp point, limited to what the object allows.
        gain: Firmness of the descent.
        pull: What the hand has learned to push against, if it does.
    """

    def above(shift_m: NDArray[np.float64]) -> Goal:
        return Goal(position_m=point() + shift_m, yaw_rad=yaw())

    move = partial(move_to, arm, gripper=OPEN, turn_speed=style.turn_speed, pull=pull)
    if style.via_m is not None:
        via = above(style.via_m)
        yield from move(lambda: via, speed=style.speed, tolerance_m=0.03, tolerance_rad=np.pi)
    hover_m = offset_m * [1.0, 1.0, 0.0] + [0.0, 0.0, style.hover_m]
    yield from move(lambda: above(hover_m), speed=style.speed, tolerance_m=0.015)
    speed = min(style.speed, DESCENT_SPEED)
    yield from move(lambda: above(offset_m), speed=speed, tolerance_m=style.tolerance_m, gain=gain)


def raise_to(
    arm: ArmView, height_m: float, yaw_rad: float, style: Style, gripper: float = CLOSE, *, max_steps: int = 40
) -> Iterator[Command]:
    """Straight up or down to `height_m` above the floor."""
    top = Goal(np.array([*arm.position_m[:2], height_m]), yaw_rad)
    yield from move_to(
        arm,
        lambda: top,
        gripper,
        speed=min(style.speed, RAISE_SPEED),
        turn_speed=style.turn_speed,
        tolerance_m=0.02,
        max_steps=max_steps,
    )


def careful(style: Style) -> Style:
    """The same hand at its second try: no detour, no error."""
    return replace(style, grasp_offset_m=np.zeros(3), yaw_offset_rad=0.0, via_m=None)
