"""Where a motion may begin: a client continues from the set-point or from the arm itself, as the two robots want it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sim.fci.kinematics import ArmKinematics
from sim.fci.reference import Reference, difference

Vector = NDArray[np.float64]

METRES_PER_RADIAN = 0.5
"""How turning counts against moving when the nearest start is looked for."""


class Start:
    """Set-point and measured arm of one motion until its first command.

    Springs and friction keep an arm a little off its set-point. The FR3's clients (libfranka >= 0.15) start from the
    measured position, the Panda's from the set-point. So an FR3 begins a motion anywhere between the two, and judges
    the first command by its distance from there; a Panda begins at the set-point.
    """

    def __init__(self, kinematics: ArmKinematics, reference: Reference, measured_q_rad: Vector | None) -> None:
        """Begin now; `measured_q_rad` (7,) is a live view of the arm's joints, None where only the set-point counts."""
        self._kinematics, self._reference, self._measured = kinematics, reference, measured_q_rad
        self._seen = [reference.q_rad.copy()]
        if measured_q_rad is not None:
            self._seen.append(measured_q_rad.copy())
        self._over = self._elbow_over = False

    def joints(self, wanted_q_rad: Vector) -> bool:
        """Rest the set-point where the first command (7,) begins; tells whether this is the first."""
        if self._over:
            return False
        self._over = True
        if self._measured is not None and np.isfinite(wanted_q_rad).all():
            seen = np.array([*self._seen, self._measured])
            self._reference.q_rad = np.clip(wanted_q_rad, seen.min(axis=0), seen.max(axis=0))
        return True

    def pose(self, wanted: Vector) -> bool:
        """The same for a pose (4, 4): of the set-point and the measured poses the nearest."""
        if self._over:
            return False
        self._over = True
        if self._measured is not None:
            reference = self._reference
            poses = [(reference.q_rad, reference.pose)]
            poses += [(q.copy(), self._kinematics.pose(q)) for q in (self._seen[1], self._measured)]
            reference.q_rad, reference.pose = min(poses, key=lambda each: _apart(wanted, each[1]))
        return True

    def elbow(self, angle_rad: float) -> bool:
        """The same for the angle of the elbow, which may come later than the motion's first command."""
        if self._elbow_over:
            return False
        self._elbow_over = True
        if self._measured is not None and math.isfinite(angle_rad):
            reference = self._reference
            seen = [reference.elbow_rad, *(float(q[2]) for q in (*self._seen, self._measured))]
            reference.elbow_rad = min(max(angle_rad, min(seen)), max(seen))
        return True


def _apart(one: Vector, other: Vector) -> float:
    gap = difference(one, other)
    gap[3:] *= METRES_PER_RADIAN
    return float(np.linalg.norm(gap))
