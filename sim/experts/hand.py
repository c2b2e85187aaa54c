"""A firm hand: one arm with a style that holds against whatever pulls at it, moving or not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sim.experts.arm import ArmView, wrap_angle
from sim.experts.pick import careful, reach_down
from sim.experts.primitives import CLOSE, FIRM_GAIN, Command, Goal, Pull, move_to, push
from sim.experts.style import Style

Vector = NDArray[np.float64]

MAX_ATTEMPTS = 3
CLOSING_STEPS = 10
OFFSET_SHARE = np.array([0.3, 0.3, 0.0])
"""Handles leave less room than a cube does."""
EXTRA_HOVER_M = 0.10
"""Things in bins are approached from above the walls."""
SAFE_HEIGHT_M = 1.10
RAISE_SPEED = 0.7
REST_NOISE_GAIN = 0.15
"""A hand at rest trembles less than one that moves."""


def at(position_m: Vector, yaw_rad: float) -> Callable[[], Goal]:
    """A goal that stays where it is, for a hand that looks down."""
    goal = Goal(np.array(position_m), yaw_rad)
    return lambda: goal


class Hand:
    """Movements of one arm. Each generator yields commands (7,)."""

    def __init__(self, arm: ArmView, style: Style) -> None:
        """Move `arm` in `style`."""
        self.arm, self.style = arm, style
        self._pull = Pull()
        self._anchor: Goal | None = None
        self._gripper = -1.0

    def nearest_yaw(self, yaw_rad: float, period_rad: float) -> float:
        """The heading nearest to the present one among those equal to `yaw_rad` modulo `period_rad`."""
        return self.arm.yaw_rad + wrap_angle(yaw_rad - self.arm.yaw_rad, period_rad)

    def go(
        self,
        goal: Callable[[], Goal],
        gripper: float,
        *,
        tolerance_m: float,
        tolerance_rad: float = 0.15,
        speed: float = 1.0,
        max_steps: int = 80,
        steadiness: float = 1.0,
    ) -> Iterator[Command]:
        """To a goal that may move, at the style's speed or `speed` if that is less, with noise / `steadiness`."""
        self._remember(gripper)
        yield from move_to(
            self.arm,
            goal,
            gripper,
            speed=min(self.style.speed, speed),
            turn_speed=self.style.turn_speed,
            tolerance_m=tolerance_m,
            tolerance_rad=tolerance_rad,
            max_steps=max_steps,
            gain=FIRM_GAIN,
            pull=self._pull,
            steadiness=steadiness,
        )

    def rise(self, height_m: float, gripper: float) -> Iterator[Command]:
        """Straight up to `height_m` above the floor."""
        top_m = np.array([*self.arm.position_m[:2], height_m])
        goal = at(top_m, self.arm.yaw_rad)
        yield from self.go(goal, gripper, tolerance_m=0.025, speed=RAISE_SPEED, max_steps=50)

    def stay(self, gripper: float, steps: int, until: Callable[[], bool] = lambda: False) -> Iterator[Command]:
        """Here, for so many control steps or until something happens. Without commands a hand would drift."""
        self._remember(gripper)
        for _ in range(steps):
            if until():
                return
            yield self.rest()

    def rest(self) -> Command:
        """One control step of staying where the hand came to rest."""
        if self._anchor is None:
            self._anchor = Goal(self.arm.position_m, self.arm.yaw_rad, self.arm.approach)
        pace = {"speed": self.style.speed, "turn_speed": self.style.turn_speed, "gain": FIRM_GAIN}
        return Command(push(self.arm, self._anchor, self._gripper, self._pull, **pace), REST_NOISE_GAIN)

    def pick(
        self, point: Callable[[], Vector], yaw: Callable[[], float], is_held: Callable[[], bool]
    ) -> Iterator[Command]:
        """Grasp what is at `point` from above and raise it; again where it slipped."""
        style = replace(self.style, hover_m=self.style.hover_m + EXTRA_HOVER_M)
        for _ in range(MAX_ATTEMPTS):
            self._remember(-CLOSE)
            offset_m = style.grasp_offset_m * OFFSET_SHARE
            yield from reach_down(self.arm, point, yaw, style, offset_m=offset_m, pull=self._pull)
            yield from self.stay(-CLOSE, style.pause_steps)
            yield from self.stay(CLOSE, CLOSING_STEPS)
            yield from self.rise(SAFE_HEIGHT_M, CLOSE)
            if is_held():
                return
            style = careful(style)

    def _remember(self, gripper: float) -> None:
        """Forget where the hand rested, unless only the fingers move."""
        self._anchor, self._gripper = None, gripper
