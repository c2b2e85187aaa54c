"""What the two robots refuse: published limits by which the server judges commands and the arm."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from d2ppo_core.runtime import robots
from d2ppo_core.runtime.kinematics import ELBOW_STRAIGHT_RAD


@dataclass(frozen=True, kw_only=True, eq=False)
class Limits(robots.Robot):
    """Of one robot, as its server applies them."""

    rounding: tuple[float, float, float]
    """Velocities, accelerations and jerks pass up to this many times their limit: a client continues from the state it
    was sent, and version 10 sends single precision."""

    @cached_property
    def _speeds(self) -> list[tuple[float, ...]]:
        twice = np.where(np.isinf(self.deceleration_rad_s2), 0.0, 2.0 * self.deceleration_rad_s2)
        slack = (self.rounding[0] - 1.0) * self.dq_rad_s
        rows = (self.q_min_rad, self.q_max_rad, twice, self.velocity_offset_rad_s, self.dq_rad_s, slack)
        return list(zip(*(row.tolist() for row in rows), strict=True))

    def allow_speeds(self, dq_rad_s: NDArray[np.float64], q_rad: NDArray[np.float64]) -> bool:
        """Whether joints at these angles (7,) may move this fast (7,), up to rounding: `velocity_bounds`, in floats."""
        for speed, q, (low, high, twice, offset, most, slack) in zip(
            dq_rad_s.tolist(), q_rad.tolist(), self._speeds, strict=True
        ):
            if twice:  # the limit shrinks towards the end that the joint moves to
                room = high - q if speed > 0.0 else q - low
                most = max(min(math.sqrt(max(twice * room, 0.0)) - offset, most), 0.0)
            if not abs(speed) <= most + slack:
                return False
        return True


PANDA = Limits(**vars(robots.PANDA), rounding=(1.001, 1.001, 1.001))

FR3 = Limits(
    **vars(robots.FR3)
    # The simulated joints end where a Panda's do, whichever protocol is spoken.
    | {"q_min_rad": robots.PANDA.q_min_rad, "q_max_rad": robots.PANDA.q_max_rad},
    rounding=(1.001, 1.05, 1.15),
)

ELBOW_FLIP_RAD = ELBOW_STRAIGHT_RAD
"""Angle of the fourth joint at which the elbow turns over."""
LIMITS = {5: PANDA, 10: FR3}
"""By robot-server version."""
