"""What the robot wants of itself, and how it comes to rest."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from d2ppo_core.geometry import step_between
from sim.fci.kinematics import ArmKinematics
from sim.fci.limits import Limits
from sim.fci.wire import Error

Vector = NDArray[np.float64]

DT_S = 1e-3


class ReflexError(Exception):
    """A command or the state broke a rule; the robot stops itself and reports the error."""

    def __init__(self, error: Error) -> None:
        """Take the robot's own name of the error."""
        super().__init__(error.name.lower())
        self.error = error


@dataclass
class Reference:
    """The set-point; clients start their own trajectories from it."""

    q_rad: Vector
    pose: Vector
    """(4, 4) O_T_EE_c."""
    dq_rad_s: Vector = field(default_factory=lambda: np.zeros(7))
    ddq_rad_s2: Vector = field(default_factory=lambda: np.zeros(7))
    twist: Vector = field(default_factory=lambda: np.zeros(6))
    """(6,) m/s and rad/s, base frame."""
    acceleration: Vector = field(default_factory=lambda: np.zeros(6))
    elbow_rad: float = 0.0
    elbow_rad_s: float = 0.0
    elbow_rad_s2: float = 0.0

    def rest(self) -> None:
        """Keep the position, drop all velocities."""
        for rate in (self.dq_rad_s, self.ddq_rad_s2, self.twist, self.acceleration):
            rate[:] = 0.0
        self.elbow_rad = float(self.q_rad[2])
        self.elbow_rad_s = self.elbow_rad_s2 = 0.0

    @property
    def resting(self) -> bool:
        """Whether no joint of the set-point moves."""
        return not self.dq_rad_s.any()


class Brake:
    """Takes a moving set-point to rest as fast as the joints may decelerate."""

    def __init__(self, kinematics: ArmKinematics, reference: Reference, limits: Limits) -> None:
        """Take the set-point that is to come to rest."""
        self._kinematics, self._reference, self._limits = kinematics, reference, limits
        self._step = limits.ddq_rad_s2 * DT_S

    def advance(self) -> None:
        """One millisecond; does nothing once the set-point rests."""
        reference, limits = self._reference, self._limits
        if reference.resting:
            return
        before = reference.dq_rad_s
        velocity = before - np.clip(before, -self._step, self._step)
        reference.q_rad = np.clip(reference.q_rad + DT_S * velocity, limits.q_min_rad, limits.q_max_rad)
        reference.ddq_rad_s2 = (velocity - before) / DT_S
        reference.dq_rad_s = velocity
        reference.pose = self._kinematics.pose(reference.q_rad)
        reference.twist = self._kinematics.twist(reference.pose, velocity)
        if not velocity.any():
            reference.rest()


def difference(to: Vector, start: Vector) -> Vector:
    """(6,) translation and rotation vector from one pose to another, base frame."""
    return step_between(start, to)
