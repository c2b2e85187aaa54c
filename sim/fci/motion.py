"""What moves the arm in each control mode: from one command of the client to the joint torques of one millisecond."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import mujoco
import numpy as np
from numpy.typing import NDArray

from sim.fci import limits
from sim.fci.kinematics import ArmKinematics, rotation_vector
from sim.fci.wire import Controller, Error, Generator
from sim.world import World

Vector = NDArray[np.float64]

DT_S = 1e-3
STIFFNESS_NM_RAD = np.array([3000.0, 3000.0, 3000.0, 2500.0, 2500.0, 2000.0, 2000.0])
"""Of the robot's internal joint controller, which also holds the idle arm."""
DAMPING_NMS_RAD = np.array([100.0, 100.0, 100.0, 80.0, 30.0, 25.0, 20.0])
TOLERANCE = 1.05
"""Commands this much beyond a limit still pass: the client limits in its own arithmetic."""
JERK_TOLERANCE = 1.5
IK_DAMPING = 1e-9

_TAU_STEP_NM = [limits.DTAU_MAX_NM_S * DT_S * JERK_TOLERANCE] * 7
_TAU_NM = limits.TAU_MAX_NM.tolist()
_DQ_RAD_S = (TOLERANCE * limits.DQ_MAX_RAD_S).tolist()
_Q_MIDDLE_RAD = 0.5 * (limits.Q_MAX_RAD + limits.Q_MIN_RAD)
_Q_TRAVEL_RAD = (0.5 * (limits.Q_MAX_RAD - limits.Q_MIN_RAD)).tolist()


class ReflexError(Exception):
    """A command or the state broke a rule; the robot stops itself and reports the error."""

    def __init__(self, error: Error) -> None:
        super().__init__(error.name)
        self.error = error


@dataclass
class Reference:
    """What the robot wants of itself; clients start their own trajectories from it."""

    q_rad: Vector
    pose: Vector
    """(4, 4) O_T_EE_c."""
    dq_rad_s: Vector = field(default_factory=lambda: np.zeros(7))
    ddq_rad_s2: Vector = field(default_factory=lambda: np.zeros(7))
    twist: Vector = field(default_factory=lambda: np.zeros(6))
    """(6,) m/s and rad/s, base frame."""
    acceleration: Vector = field(default_factory=lambda: np.zeros(6))

    def rest(self) -> None:
        """Keep the position, drop all velocities."""
        for rate in (self.dq_rad_s, self.ddq_rad_s2, self.twist, self.acceleration):
            rate[:] = 0.0


class JointController:
    """The internal controller: stiff joint impedance with inertia feed-forward around the reference."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._forward = np.zeros(world.model.nv)
        self._wanted = np.zeros(world.model.nv)

    def torque(self, reference: Reference) -> Vector:
        """(7,) Nm without gravity, within the limits of the drives."""
        world = self._world
        self._wanted[:7] = reference.ddq_rad_s2
        mujoco.mj_mulM(world.model, world.data, self._forward, self._wanted)
        tau = self._forward[:7] + STIFFNESS_NM_RAD * (reference.q_rad - world.q_rad)
        tau += DAMPING_NMS_RAD * (reference.dq_rad_s - world.dq_rad_s)
        clipped: Vector = np.clip(tau, -limits.TAU_MAX_NM, limits.TAU_MAX_NM)
        return clipped


class Motion(Protocol):
    """One control mode between a Move request and its end."""

    generator: Generator
    controller: Controller

    def torque(self, command: dict[str, Vector] | None) -> Vector:
        """(7,) Nm for the next millisecond; None means the command was lost. Raises ReflexError."""


class TorqueMotion:
    """External control: the client's torques act on the arm as they are."""

    def __init__(self, world: World, reference: Reference, generator: Generator) -> None:
        self.generator, self.controller = generator, Controller.EXTERNAL
        self._world, self._reference = world, reference
        self._tau = np.zeros(7)

    def torque(self, command: dict[str, Vector] | None) -> Vector:
        """Pass the torques through; a lost packet repeats the last ones."""
        world, reference = self._world, self._reference
        if command is not None:
            tau = command["tau_J_d"]
            if not _inside(tau - self._tau, _TAU_STEP_NM):
                raise ReflexError(Error.TORQUE_DISCONTINUITY)
            if not _inside(tau, _TAU_NM):
                raise ReflexError(Error.TORQUE_RANGE)
            self._tau[:] = tau
        if not _inside(world.q_rad - _Q_MIDDLE_RAD, _Q_TRAVEL_RAD):
            raise ReflexError(Error.JOINT_POSITION_LIMITS)
        if not _inside(world.dq_rad_s, _DQ_RAD_S):
            raise ReflexError(Error.JOINT_VELOCITY)
        reference.q_rad[:] = world.q_rad
        return self._tau


class JointMotion:
    """Joint positions or velocities, tracked by the internal controller."""

    def __init__(
        self, kinematics: ArmKinematics, reference: Reference, inner: JointController, generator: Generator
    ) -> None:
        self.generator, self.controller = generator, Controller.JOINT_IMPEDANCE
        self._kinematics, self._reference, self._inner = kinematics, reference, inner

    def torque(self, command: dict[str, Vector] | None) -> Vector:
        """Follow one more set-point; a lost packet continues with constant acceleration."""
        reference = self._reference
        if command is None:
            velocity = reference.dq_rad_s + DT_S * reference.ddq_rad_s2
        elif self.generator is Generator.JOINT_POSITION:
            velocity = (command["q_c"] - reference.q_rad) / DT_S
        else:
            velocity = command["dq_c"]
        acceleration = (velocity - reference.dq_rad_s) / DT_S
        jerk = (acceleration - reference.ddq_rad_s2) / DT_S
        if not (np.abs(velocity) <= TOLERANCE * limits.DQ_MAX_RAD_S).all():
            raise ReflexError(Error.GENERATOR_VELOCITY_LIMITS)
        if (np.abs(acceleration) > TOLERANCE * limits.DDQ_MAX_RAD_S2).any():
            raise ReflexError(Error.GENERATOR_VELOCITY_DISCONTINUITY)
        if (np.abs(jerk) > JERK_TOLERANCE * limits.DDDQ_MAX_RAD_S3).any():
            raise ReflexError(Error.GENERATOR_ACCELERATION_DISCONTINUITY)
        _advance(reference, velocity, acceleration, Error.GENERATOR_POSITION_LIMITS)
        reference.pose = self._kinematics.pose(reference.q_rad)
        reference.twist = self._kinematics.jacobian(reference.pose) @ velocity
        return self._inner.torque(reference)


class CartesianMotion:
    """Poses or twists of the end effector: inverse kinematics, then the internal controller."""

    def __init__(
        self, kinematics: ArmKinematics, reference: Reference, inner: JointController, generator: Generator
    ) -> None:
        self.generator, self.controller = generator, Controller.CARTESIAN_IMPEDANCE
        self._kinematics, self._reference, self._inner = kinematics, reference, inner

    def torque(self, command: dict[str, Vector] | None) -> Vector:
        """Follow one more set-point; a lost packet continues with constant acceleration."""
        reference = self._reference
        actual = self._kinematics.pose(reference.q_rad)
        jacobian = self._kinematics.jacobian(actual)
        twist, correction = self._wanted_twist(command, actual)
        acceleration = (twist - reference.twist) / DT_S
        if not np.linalg.norm(twist[:3]) <= TOLERANCE * limits.SPEED_MAX_M_S:
            raise ReflexError(Error.CARTESIAN_VELOCITY_LIMITS)
        if np.linalg.norm(acceleration[:3]) > TOLERANCE * limits.ACCELERATION_MAX_M_S2:
            raise ReflexError(Error.CARTESIAN_VELOCITY_DISCONTINUITY)
        if command is not None and command["valid_elbow"]:
            elbow = np.zeros((1, 7))
            elbow[0, 2] = 1.0
            jacobian = np.concatenate((jacobian, elbow))
            correction = np.append(correction, (command["elbow_c"][0] - reference.q_rad[2]) / DT_S)
        gram = jacobian @ jacobian.T
        gram.flat[:: len(gram) + 1] += IK_DAMPING
        velocity = jacobian.T @ np.linalg.solve(gram, correction)
        joint_acceleration = (velocity - reference.dq_rad_s) / DT_S
        if (np.abs(velocity) > TOLERANCE * limits.DQ_MAX_RAD_S).any():
            raise ReflexError(Error.CARTESIAN_JOINT_VELOCITY_LIMITS)
        if (np.abs(joint_acceleration) > TOLERANCE * limits.DDQ_MAX_RAD_S2).any():
            raise ReflexError(Error.CARTESIAN_JOINT_VELOCITY_DISCONTINUITY)
        reference.twist, reference.acceleration = twist, acceleration
        _advance(reference, velocity, joint_acceleration, Error.CARTESIAN_JOINT_POSITION_LIMITS)
        return self._inner.torque(reference)

    def _wanted_twist(self, command: dict[str, Vector] | None, actual: Vector) -> tuple[Vector, Vector]:
        """The commanded twist (6,), and the twist that brings the joints onto the commanded pose."""
        reference = self._reference
        if command is None:
            twist = reference.twist + DT_S * reference.acceleration
        elif self.generator is Generator.CARTESIAN_POSITION:
            wanted = command["O_T_EE_c"].reshape(4, 4).T
            twist = _difference(wanted, reference.pose) / DT_S
            reference.pose = wanted.copy()
            return twist, _difference(wanted, actual) / DT_S
        else:
            twist = command["O_dP_EE_c"].copy()
        reference.pose = actual
        return twist, twist


def _inside(values: Vector, limit: list[float]) -> bool:
    """Tell whether no magnitude exceeds its limit and none is NaN; a loop over seven floats beats array arithmetic."""
    for value, most in zip(values.tolist(), limit, strict=True):
        if not -most <= value <= most:
            return False
    return True


def _difference(to: Vector, start: Vector) -> Vector:
    """(6,) translation and rotation vector from one pose to another, base frame."""
    return np.concatenate((to[:3, 3] - start[:3, 3], rotation_vector(to[:3, :3] @ start[:3, :3].T)))


def _advance(reference: Reference, velocity: Vector, acceleration: Vector, error: Error) -> None:
    """Integrate the reference by one step, within the joints' travel."""
    q = reference.q_rad + DT_S * velocity
    if (q > limits.Q_MAX_RAD).any() or (q < limits.Q_MIN_RAD).any():
        raise ReflexError(error)
    reference.q_rad = q
    reference.dq_rad_s = velocity.copy()
    reference.ddq_rad_s2 = acceleration
