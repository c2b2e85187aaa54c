"""Motion generators: a client's commands become the next set-point, or the reflex that a robot would answer with."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sim.fci.bounds import between, inside
from sim.fci.filters import Filters, blended, blended_pose
from sim.fci.kinematics import ArmKinematics
from sim.fci.limits import ELBOW_FLIP_RAD, Limits
from sim.fci.reference import DT_S, Reference, ReflexError, difference
from sim.fci.start import Start
from sim.fci.wire import Error, Generator

Vector = NDArray[np.float64]
Command = dict[str, Vector]

START_RAD, START_M = 0.01, 0.005
"""A motion that begins further from where it may than this has an invalid start; less than this is a jump."""
FRAME_TOLERANCE = 1e-5
IK_DAMPING = 1e-9
SINGULAR = 0.01
"""No Cartesian motion begins where the smallest singular value of the Jacobian is below this."""
ASYNC_SHARE = 0.5
"""Of the joints' acceleration limits, used on the way to targets that come at any rate."""


class MotionGenerator(Protocol):
    """One way to command set-points."""

    mode: Generator

    def advance(self, command: Command | None) -> None:
        """Move the set-point by a millisecond; None means the command was lost. Raises ReflexError."""

    def check_end(self) -> None:
        """Raise ReflexError when the motion may not end here because the set-point still moves."""


class JointGenerator:
    """Joint positions or velocities."""

    def __init__(
        self,
        kinematics: ArmKinematics,
        reference: Reference,
        limits: Limits,
        filters: Filters,
        mode: Generator,
        measured_q_rad: Vector | None = None,
    ) -> None:
        """Begin where the set-point is, or where the arm is (7,), as sim.fci.start says."""
        self.mode = mode
        self._start = Start(kinematics, reference, measured_q_rad)
        self._kinematics, self._reference, self._limits, self._filters = kinematics, reference, limits, filters
        _, acceleration, jerk = limits.rounding
        self._ddq = acceleration * limits.ddq_rad_s2
        self._change = (DT_S * jerk * limits.dddq_rad_s3).tolist()
        self._most = self._ddq.tolist()

    def advance(self, command: Command | None) -> None:
        """Follow one more set-point; a lost packet continues with constant acceleration."""
        reference, limits = self._reference, self._limits
        if command is None:
            coast(reference, limits, Error.JOINT_MOTION_GENERATOR_POSITION_LIMITS_VIOLATION)
        else:
            velocity = self._velocity(command)
            if not limits.allow_speeds(velocity, reference.q_rad):
                raise ReflexError(Error.JOINT_MOTION_GENERATOR_VELOCITY_LIMITS_VIOLATION)
            acceleration = (velocity - reference.dq_rad_s) / DT_S
            if not inside(acceleration, self._most):
                raise ReflexError(Error.JOINT_MOTION_GENERATOR_VELOCITY_DISCONTINUITY)
            if not inside(acceleration - reference.ddq_rad_s2, self._change):
                raise ReflexError(Error.JOINT_MOTION_GENERATOR_ACCELERATION_DISCONTINUITY)
            move_joints(
                reference, limits, velocity, acceleration, Error.JOINT_MOTION_GENERATOR_POSITION_LIMITS_VIOLATION
            )
        reference.pose = self._kinematics.pose(reference.q_rad)
        reference.twist = self._kinematics.twist(reference.pose, reference.dq_rad_s)
        reference.elbow_rad, reference.elbow_rad_s = float(reference.q_rad[2]), float(reference.dq_rad_s[2])
        reference.elbow_rad_s2 = float(reference.ddq_rad_s2[2])

    def check_end(self) -> None:
        """Velocities that no joint can stop from in a millisecond are a discontinuity."""
        if (np.abs(self._reference.dq_rad_s) > DT_S * self._ddq).any():
            raise ReflexError(Error.JOINT_MOTION_GENERATOR_VELOCITY_DISCONTINUITY)

    def _velocity(self, command: Command) -> Vector:
        reference = self._reference
        if self.mode is Generator.JOINT_VELOCITY:
            return blended(self._filters.joint_velocity, command["dq_c"].copy(), reference.dq_rad_s)
        first = self._start.joints(command["q_c"])
        wanted = blended(self._filters.joint_position, command["q_c"], reference.q_rad)
        gap = wanted - reference.q_rad
        if first and not (np.abs(gap) <= START_RAD).all():
            raise ReflexError(Error.JOINT_POSITION_MOTION_GENERATOR_START_POSE_INVALID)
        return gap / DT_S


class AsyncJointGenerator:
    """Joint positions at any rate (version 10): the robot itself goes there with the velocities it was given."""

    mode = Generator.JOINT_POSITION

    def __init__(self, kinematics: ArmKinematics, reference: Reference, limits: Limits, velocity_rad_s: Vector) -> None:
        """Begin at rest at the set-point.

        Args:
            kinematics: of the arm.
            reference: the set-point, which is moved.
            limits: of the robot.
            velocity_rad_s: (7,) greatest velocities on the way; never more than the robot's.
        """
        self._kinematics, self._reference, self._limits = kinematics, reference, limits
        self._velocity = np.minimum(velocity_rad_s, limits.dq_rad_s)
        self._acceleration = ASYNC_SHARE * limits.ddq_rad_s2
        self._target = reference.q_rad.copy()

    def advance(self, command: Command | None) -> None:
        """Take a new target if there is one, and a step towards the latest; targets beyond the travel are refused."""
        reference, limits = self._reference, self._limits
        if command is not None:
            target = command["q_c"].copy()
            if not ((target <= limits.q_max_rad) & (target >= limits.q_min_rad)).all():
                raise ReflexError(Error.JOINT_MOTION_GENERATOR_POSITION_LIMITS_VIOLATION)
            self._target = target
        gap = self._target - reference.q_rad
        # the speed from which the joint still stops in time, half a step ahead
        stoppable = np.sqrt(2.0 * self._acceleration * np.abs(gap)) - 0.5 * self._acceleration * DT_S
        wanted = np.sign(gap) * np.clip(np.minimum(stoppable, np.abs(gap) / DT_S), 0.0, self._velocity)
        step = self._acceleration * DT_S
        velocity = reference.dq_rad_s + np.clip(wanted - reference.dq_rad_s, -step, step)
        acceleration = (velocity - reference.dq_rad_s) / DT_S
        move_joints(reference, limits, velocity, acceleration, Error.JOINT_MOTION_GENERATOR_POSITION_LIMITS_VIOLATION)
        reference.pose = self._kinematics.pose(reference.q_rad)
        reference.twist = self._kinematics.twist(reference.pose, velocity)

    def check_end(self) -> None:
        """The robot stops by itself."""


class CartesianGenerator:
    """Poses or twists of the end effector, optionally with an elbow angle: inverse kinematics to the joints."""

    def __init__(
        self,
        kinematics: ArmKinematics,
        reference: Reference,
        limits: Limits,
        filters: Filters,
        mode: Generator,
        measured_q_rad: Vector | None = None,
    ) -> None:
        """Begin where the set-point is, or where the arm is (7,), as sim.fci.start says."""
        self.mode = mode
        self._start = Start(kinematics, reference, measured_q_rad)
        self._kinematics, self._reference, self._limits, self._filters = kinematics, reference, limits, filters
        self._flip = np.sign(reference.q_rad[3] - ELBOW_FLIP_RAD)
        speed, acceleration, jerk = limits.rounding
        self._speed = tuple(speed * value for value in limits.speed)
        self._acceleration = tuple(acceleration * value for value in limits.acceleration)
        self._jerk = tuple(jerk * value for value in limits.jerk)
        self._dq, self._ddq = (speed * limits.dq_rad_s).tolist(), (acceleration * limits.ddq_rad_s2).tolist()
        self._change = (DT_S * jerk * limits.dddq_rad_s3).tolist()

    def advance(self, command: Command | None) -> None:
        """Follow one more set-point; a lost packet continues with constant acceleration."""
        reference = self._reference
        if command is None:
            reference.twist = reference.twist + DT_S * reference.acceleration
            coast(reference, self._limits, Error.CARTESIAN_MOTION_GENERATOR_JOINT_POSITION_LIMITS_VIOLATION)
            reference.pose = self._kinematics.pose(reference.q_rad)
            return
        if self.mode is Generator.CARTESIAN_POSITION:
            self._check_pose(command["O_T_EE_c"].reshape(4, 4).T)
        actual = self._kinematics.pose(reference.q_rad)
        jacobian = self._kinematics.jacobian(actual)
        wanted, twist, correction = self._wanted(command, actual)
        self._check_twist(twist)
        acceleration = (twist - reference.twist) / DT_S
        if command["valid_elbow"]:
            row = np.zeros((1, 7))
            row[0, 2] = 1.0
            jacobian = np.concatenate((jacobian, row))
            correction = np.append(correction, self._elbow_rate(command["elbow_c"]))
        velocity = inverse(jacobian) @ correction
        joint_acceleration = (velocity - reference.dq_rad_s) / DT_S
        self._check_joints(velocity, joint_acceleration)
        error = Error.CARTESIAN_MOTION_GENERATOR_JOINT_POSITION_LIMITS_VIOLATION
        move_joints(reference, self._limits, velocity, joint_acceleration, error)
        reference.twist, reference.acceleration = twist, acceleration
        reference.pose = self._kinematics.pose(reference.q_rad) if wanted is None else wanted
        if not command["valid_elbow"]:
            reference.elbow_rad, reference.elbow_rad_s = float(reference.q_rad[2]), float(velocity[2])
            reference.elbow_rad_s2 = float(joint_acceleration[2])

    def check_end(self) -> None:
        """A twist from which the hand cannot stop in a millisecond is a discontinuity."""
        twist = self._reference.twist
        for part, most in zip((twist[:3], twist[3:]), self._acceleration, strict=True):
            if np.linalg.norm(part) > DT_S * most:
                raise ReflexError(Error.CARTESIAN_MOTION_GENERATOR_VELOCITY_DISCONTINUITY)

    def _wanted(self, command: Command, actual: Vector) -> tuple[Vector | None, Vector, Vector]:
        """The commanded pose or None, its twist (6,), and the twist that brings the joints there."""
        reference, filters = self._reference, self._filters
        if self.mode is Generator.CARTESIAN_VELOCITY:
            twist = blended(filters.cartesian_velocity, command["O_dP_EE_c"].copy(), reference.twist)
            return None, twist, twist
        wanted = command["O_T_EE_c"].reshape(4, 4).T
        wanted = blended_pose(filters.cartesian_position, wanted, reference.pose).copy()
        return wanted, difference(wanted, reference.pose) / DT_S, difference(wanted, actual) / DT_S

    def _check_pose(self, wanted: Vector) -> None:
        """A rigid transform, and in the beginning one that is near."""
        check_frame(wanted)
        if self._start.pose(wanted):
            step = difference(wanted, self._reference.pose)
            if np.linalg.norm(step[:3]) > START_M or np.linalg.norm(step[3:]) > START_RAD:
                raise ReflexError(Error.CARTESIAN_POSITION_MOTION_GENERATOR_START_POSE_INVALID)

    def _check_twist(self, twist: Vector) -> None:
        reference = self._reference
        acceleration = (twist - reference.twist) / DT_S
        jerk = (acceleration - reference.acceleration) / DT_S
        for values, limits, error in (
            (twist, self._speed, Error.CARTESIAN_MOTION_GENERATOR_VELOCITY_LIMITS_VIOLATION),
            (acceleration, self._acceleration, Error.CARTESIAN_MOTION_GENERATOR_VELOCITY_DISCONTINUITY),
            (jerk, self._jerk, Error.CARTESIAN_MOTION_GENERATOR_ACCELERATION_DISCONTINUITY),
        ):
            if not (values[:3] @ values[:3] <= limits[0] ** 2 and values[3:] @ values[3:] <= limits[1] ** 2):
                raise ReflexError(error)

    def _check_joints(self, velocity: Vector, acceleration: Vector) -> None:
        reference = self._reference
        if not inside(velocity, self._dq):
            raise ReflexError(Error.CARTESIAN_MOTION_GENERATOR_JOINT_VELOCITY_LIMITS_VIOLATION)
        if not inside(acceleration, self._ddq):
            raise ReflexError(Error.CARTESIAN_MOTION_GENERATOR_JOINT_VELOCITY_DISCONTINUITY)
        if not inside(acceleration - reference.ddq_rad_s2, self._change):
            raise ReflexError(Error.CARTESIAN_MOTION_GENERATOR_JOINT_ACCELERATION_DISCONTINUITY)

    def _elbow_rate(self, elbow: Vector) -> float:
        """Rate of the third joint, rad/s, that the commanded elbow asks for."""
        reference, limits = self._reference, self._limits
        angle, flip = elbow.tolist()
        if flip != self._flip:
            raise ReflexError(Error.CARTESIAN_MOTION_GENERATOR_ELBOW_SIGN_INCONSISTENT)
        if self._start.elbow(angle) and not abs(angle - reference.elbow_rad) <= START_RAD:
            raise ReflexError(Error.CARTESIAN_MOTION_GENERATOR_START_ELBOW_INVALID)
        rate = (angle - reference.elbow_rad) / DT_S
        acceleration = (rate - reference.elbow_rad_s) / DT_S
        jerk = (acceleration - reference.elbow_rad_s2) / DT_S
        most = [share * limit for share, limit in zip(limits.rounding, limits.elbow, strict=True)]
        inside = limits.q_min_rad[2] <= angle <= limits.q_max_rad[2]
        if not (inside and abs(rate) <= most[0] and abs(acceleration) <= most[1] and abs(jerk) <= most[2]):
            raise ReflexError(Error.CARTESIAN_MOTION_GENERATOR_ELBOW_LIMIT_VIOLATION)
        reference.elbow_rad, reference.elbow_rad_s, reference.elbow_rad_s2 = angle, rate, acceleration
        return float((angle - reference.q_rad[2]) / DT_S)


def inverse(jacobian: Vector) -> Vector:
    """(7, n) damped pseudo-inverse of an (n, 7) Jacobian."""
    gram = jacobian @ jacobian.T
    gram.flat[:: len(gram) + 1] += IK_DAMPING
    result = np.linalg.solve(gram, jacobian).T
    return np.asarray(result, np.float64)


def is_singular(kinematics: ArmKinematics, q_rad: Vector) -> bool:
    """Whether the arm has lost a direction at these joint angles."""
    jacobian = kinematics.jacobian(kinematics.pose(q_rad))
    return bool(np.linalg.svd(jacobian, compute_uv=False)[-1] < SINGULAR)


def check_frame(pose: Vector) -> None:
    """Raise ReflexError unless this is a rigid transform."""
    rotation = pose[:3, :3]
    if not (np.abs(rotation @ rotation.T - np.eye(3)) < FRAME_TOLERANCE).all() or np.linalg.det(rotation) < 0.0:
        raise ReflexError(Error.CARTESIAN_POSITION_MOTION_GENERATOR_INVALID_FRAME_FLAG)
    if not (np.isfinite(pose).all() and (pose[3] == (0.0, 0.0, 0.0, 1.0)).all()):
        raise ReflexError(Error.CARTESIAN_POSITION_MOTION_GENERATOR_INVALID_FRAME_FLAG)


def coast(reference: Reference, limits: Limits, error: Error) -> None:
    """Go on with constant acceleration, as the robot does without a command, but not beyond the joints' speed."""
    velocity = np.clip(reference.dq_rad_s + DT_S * reference.ddq_rad_s2, -limits.dq_rad_s, limits.dq_rad_s)
    move_joints(reference, limits, velocity, (velocity - reference.dq_rad_s) / DT_S, error)


def move_joints(reference: Reference, limits: Limits, velocity: Vector, acceleration: Vector, error: Error) -> None:
    """Integrate the set-point by one step, within the joints' travel."""
    q = reference.q_rad + DT_S * velocity
    if not between(q, limits.q_min_rad, limits.q_max_rad):
        raise ReflexError(error)
    reference.q_rad, reference.dq_rad_s, reference.ddq_rad_s2 = q, velocity, acceleration
