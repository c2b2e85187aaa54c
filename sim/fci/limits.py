"""What the two robots refuse: published limits by which the server judges commands and the arm."""

from __future__ import annotations

from dataclasses import dataclass

from d2ppo_core.runtime import robots
from d2ppo_core.runtime.kinematics import ELBOW_STRAIGHT_RAD


@dataclass(frozen=True, kw_only=True, eq=False)
class Limits(robots.Robot):
    """Of one robot, as its server applies them."""

    rounding: tuple[float, float, float]
    """Velocities, accelerations and jerks pass up to this many times their limit: a client continues from the state it
    was sent, and version 10 sends single precision."""


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
