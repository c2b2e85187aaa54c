"""What the two robots refuse: published limits by which the server judges commands and the arm."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from d2ppo_core.errors import WorldError
from d2ppo_core.runtime.safety import robots
from d2ppo_core.runtime.safety.kinematics import ELBOW_STRAIGHT_RAD
from sim.fci.bounds import between


@dataclass(frozen=True, kw_only=True, eq=False)
class Limits(robots.Robot):
    """Of one robot, as its server applies them."""

    rounding: tuple[float, float, float]
    """Velocities, accelerations and jerks pass up to this many times their limit: a client continues from the state it
    was sent, and version 10 sends single precision."""
    starts_measured: bool
    """Whether a motion may begin where the arm is, besides where it should be."""

    @cached_property
    def _slack_rad_s(self) -> NDArray[np.float64]:
        return (self.rounding[0] - 1.0) * self.dq_rad_s

    def allow_speeds(self, dq_rad_s: NDArray[np.float64], q_rad: NDArray[np.float64]) -> bool:
        """Whether joints at these angles (7,) may move this fast (7,), up to rounding."""
        low, high = self.velocity_bounds(q_rad)
        return between(dq_rad_s, low - self._slack_rad_s, high + self._slack_rad_s)


PANDA = Limits(**vars(robots.PANDA), rounding=(1.001, 1.001, 1.001), starts_measured=False)
FR3 = Limits(**vars(robots.FR3), rounding=(1.001, 1.05, 1.15), starts_measured=True)
PANDA_AS_FR3 = Limits(
    **vars(robots.FR3) | {"name": "panda", "q_min_rad": robots.PANDA.q_min_rad, "q_max_rad": robots.PANDA.q_max_rad},
    rounding=FR3.rounding,
    starts_measured=True,
)
"""No such robot exists: a Panda's joints behind an FR3's server, for clients that speak nothing else."""

ELBOW_FLIP_RAD = ELBOW_STRAIGHT_RAD
"""Angle of the fourth joint at which the elbow turns over."""
_LIMITS = {("panda", 5): PANDA, ("panda", 10): PANDA_AS_FR3, ("fr3", 10): FR3}
SPOKEN = {"panda": 5, "fr3": 10}
"""Robot-server version that a robot of each kind really has."""


def limits_of(robot: str, version: int) -> Limits:
    """What this robot refuses when it speaks this version; WorldError where none does."""
    if (robot, version) not in _LIMITS:
        raise WorldError(f"no {robot} speaks robot-server version {version}; take version {SPOKEN[robot]}")
    return _LIMITS[robot, version]
