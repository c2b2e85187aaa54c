"""External torques and wrench as the robot estimates them, and what counts as a contact or a collision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.fci.kinematics import ArmKinematics
from sim.fci.state import StateBuffer
from sim.fci.wire import Error

Vector = NDArray[np.float64]

DEFAULT_TORQUE_NM = np.array([20.0, 20.0, 18.0, 18.0, 16.0, 14.0, 12.0])
DEFAULT_FORCE = np.array([20.0, 20.0, 20.0, 25.0, 25.0, 25.0])
"""What libfranka's examples set; a robot's own defaults are not published."""
ACCELERATING = 0.1
"""Thresholds for accelerating joints hold above this share of the acceleration limits."""


@dataclass
class Thresholds:
    """Of external torques (7,) Nm and of the wrench (6,) N and Nm in the stiffness frame."""

    contact_nm: Vector
    collision_nm: Vector
    contact: Vector
    collision: Vector


def default_thresholds() -> Thresholds:
    """Those of a robot that nobody has told any."""
    torque, force = DEFAULT_TORQUE_NM, DEFAULT_FORCE
    return Thresholds(
        contact_nm=torque.copy(), collision_nm=torque.copy(), contact=force.copy(), collision=force.copy()
    )


class ContactMonitor:
    """Fills in the contact part of the robot state."""

    def __init__(self, kinematics: ArmKinematics, state: StateBuffer) -> None:
        """Begin with the robot's own thresholds; `state` is what is filled in."""
        self.accelerating, self.nominal = default_thresholds(), default_thresholds()
        self.ee_T_k = np.eye(4)
        """(4, 4) the frame in which the wrench is reported."""
        self._kinematics, self._fields = kinematics, state.fields

    def sense(self, q_rad: Vector, pose: Vector, external_nm: Vector, accelerating: bool) -> Error | None:
        """Report external torques (7,) at these joint angles and this pose (4, 4); tells which reflex they call for."""
        fields, thresholds = self._fields, self.accelerating if accelerating else self.nominal
        frame = pose @ self.ee_T_k
        self._kinematics.pose(q_rad)
        jacobian = self._kinematics.jacobian(frame)
        gram = jacobian @ jacobian.T
        gram.flat[::7] += 1e-6
        wrench = np.linalg.solve(gram, jacobian @ external_nm)
        turned = (wrench.reshape(2, 3) @ frame[:3, :3]).ravel()
        fields["O_F_ext_hat_K"][:] = wrench
        fields["K_F_ext_hat_K"][:] = turned
        torque, force = np.abs(external_nm), np.abs(turned)
        fields["joint_contact"][:] = torque > thresholds.contact_nm
        fields["cartesian_contact"][:] = force > thresholds.contact
        joint, cartesian = torque > thresholds.collision_nm, force > thresholds.collision
        if joint.any():
            fields["joint_collision"][joint] = 1.0
            return Error.JOINT_REFLEX
        if cartesian.any():
            fields["cartesian_collision"][cartesian] = 1.0
            return Error.CARTESIAN_REFLEX
        return None

    def forget_collisions(self) -> None:
        """Collisions stay in the state until the robot recovers."""
        self._fields["joint_collision"][:] = self._fields["cartesian_collision"][:] = 0.0
