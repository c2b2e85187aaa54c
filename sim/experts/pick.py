"""Grasping from above, which all tasks have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from sim.experts.arm import DOWN, ArmView
from sim.experts.primitives import CLOSE, OPEN, TRANSLATION_GAIN, Command, Goal, Pull, move_to
from sim.experts.style import Style

DESCENT_SPEED = 0.6
RAISE_SPEED = 0.7

LEAN_FROM_M, LEAN_RAD_M, MAX_LEAN_RAD = 0.65, 2.5, 0.4
"""A hand farther than this from its arm's axis leans outwards, by so much per metre, at most so far."""

Point = Callable[[], NDArray[np.float64]]
"""(3,) where something is now, m, world frame."""


def leaning(arm: ArmView, point_m: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3,) how the palm looks at a point from above: straight down nearby, outwards far away.

    Straight down, an arm is stretched out 0.8 m from its base, where real ones have their limits; a wrist behind its
    fingers leaves the elbow bent.
    """
    out_m = (point_m - arm.base_m)[:2]
    far_m = float(np.linalg.norm(out_m))
    lean_rad = min(LEAN_RAD_M * max(far_m - LEAN_FROM_M, 0.0), MAX_LEAN_RAD)
    return np.array([*(np.sin(lean_rad) * out_m / far_m), -np.cos(lean_rad)])


def reach_down(
    arm: ArmView,
    point: Point,
    yaw: Callable[[], float],
    style: Style,
    *,
    offset_m: NDArray[np.float64],
    gain: float = TRANSLATION_GAIN,
    pull: Pull | None = None,
    lean: bool = False,
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
        lean: Look outwards at what is far away, instead of straight down.
    """

    def above(shift_m: NDArray[np.float64]) -> Goal:
        return Goal(point() + shift_m, yaw(), leaning(arm, point()) if lean else DOWN)

    move = partial(move_to, arm, gripper=OPEN, turn_speed=style.turn_speed, pull=pull)
    if style.via_m is not None:
        via = above(style.via_m)
        yield from move(lambda: via, speed=style.speed, tolerance_m=0.03, tolerance_rad=np.pi)
    hover_m = offset_m * [1.0, 1.0, 0.0] + [0.0, 0.0, style.hover_m]
    yield from move(lambda: above(hover_m), speed=style.speed, tolerance_m=0.015)
    speed = min(style.speed, DESCENT_SPEED)
    yield from move(lambda: above(offset_m), speed=speed, tolerance_m=style.tolerance_m, gain=gain)


def raise_to(
    arm: ArmView,
    height_m: float,
    yaw_rad: float,
    style: Style,
    gripper: float = CLOSE,
    *,
    max_steps: int = 40,
    approach: NDArray[np.float64] = DOWN,
) -> Iterator[Command]:
    """Straight up or down to `height_m` above the floor, the palm looking along `approach` (3,)."""
    top = Goal(np.array([*arm.position_m[:2], height_m]), yaw_rad, approach)
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
