"""What the two robots refuse: published limits by which the server judges commands and the arm."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Of one robot. Joint vectors are (7,), Cartesian pairs are (translation m, rotation rad) and their derivatives."""

    q_min_rad: Vector
    q_max_rad: Vector
    dq_rad_s: Vector
    ddq_rad_s2: Vector
    dddq_rad_s3: Vector
    tau_nm: Vector
    dtau_nm_s: float
    speed: tuple[float, float]
    acceleration: tuple[float, float]
    jerk: tuple[float, float]
    elbow: tuple[float, float, float]
    """Largest rad/s, rad/s^2, rad/s^3 of the elbow angle."""
    rounding: tuple[float, float, float]
    """Velocities, accelerations and jerks pass up to this many times their limit: a client continues from the state it
    was sent, and version 10 sends single precision."""
    velocity_offset_rad_s: Vector = field(default_factory=lambda: np.zeros(7))
    """With `deceleration_rad_s2`: how the velocity limit shrinks towards the ends of a joint's travel."""
    deceleration_rad_s2: Vector = field(default_factory=lambda: np.full(7, np.inf))

    def velocity_bounds(self, q_rad: Vector) -> tuple[Vector, Vector]:
        """Lowest and highest joint velocities (7,) rad/s at these angles."""
        if np.isinf(self.deceleration_rad_s2[0]):
            return -self.dq_rad_s, self.dq_rad_s
        twice = 2.0 * self.deceleration_rad_s2
        high = np.sqrt(np.maximum(twice * (self.q_max_rad - q_rad), 0.0)) - self.velocity_offset_rad_s
        low = self.velocity_offset_rad_s - np.sqrt(np.maximum(twice * (q_rad - self.q_min_rad), 0.0))
        return (
            np.clip(low, -self.dq_rad_s, 0.0),
            np.clip(high, 0.0, self.dq_rad_s),
        )


_TAU_NM = np.array([87.0, 87.0, 87.0, 87.0, 12.0, 12.0, 12.0])
_PANDA_Q_MIN_RAD = np.array([-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973])
_PANDA_Q_MAX_RAD = np.array([2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973])

PANDA = Limits(
    q_min_rad=_PANDA_Q_MIN_RAD,
    q_max_rad=_PANDA_Q_MAX_RAD,
    dq_rad_s=np.array([2.175, 2.175, 2.175, 2.175, 2.61, 2.61, 2.61]),
    ddq_rad_s2=np.array([15.0, 7.5, 10.0, 12.5, 15.0, 20.0, 20.0]),
    dddq_rad_s3=np.array([7500.0, 3750.0, 5000.0, 6250.0, 7500.0, 10000.0, 10000.0]),
    tau_nm=_TAU_NM,
    dtau_nm_s=1000.0,
    speed=(1.7, 2.5),
    acceleration=(13.0, 25.0),
    jerk=(6500.0, 12500.0),
    elbow=(2.175, 10.0, 5000.0),
    rounding=(1.001, 1.001, 1.001),
)

FR3 = Limits(
    # The simulated joints end where a Panda's do, whichever protocol is spoken.
    q_min_rad=_PANDA_Q_MIN_RAD,
    q_max_rad=_PANDA_Q_MAX_RAD,
    dq_rad_s=np.array([2.62, 2.62, 2.62, 2.62, 5.26, 4.18, 5.26]),
    ddq_rad_s2=np.full(7, 10.0),
    dddq_rad_s3=np.full(7, 5000.0),
    tau_nm=_TAU_NM,
    dtau_nm_s=1000.0,
    speed=(3.0, 2.5),
    acceleration=(9.0, 17.0),
    jerk=(4500.0, 8500.0),
    elbow=(1.5, 10.0, 5000.0),
    rounding=(1.001, 1.05, 1.15),
    velocity_offset_rad_s=np.array([0.30, 0.20, 0.20, 0.30, 0.35, 0.35, 0.35]),
    deceleration_rad_s2=np.array([6.0, 2.585, 3.5, 4.0, 17.0, 5.5, 17.0]),
)

ELBOW_FLIP_RAD = -0.467002423653011
"""Angle of the fourth joint at which the elbow turns over."""
LIMITS = {5: PANDA, 10: FR3}
"""By robot-server version."""
