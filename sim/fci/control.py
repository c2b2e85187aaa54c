"""Control laws: from set-point and arm to the joint torques of one millisecond, gravity apart."""

from __future__ import annotations

from typing import Protocol

import mujoco
import numpy as np
from numpy.typing import NDArray

from sim.fci.bounds import inside
from sim.fci.filters import Filters, blended
from sim.fci.kinematic_arm import KinematicArm
from sim.fci.kinematics import ArmKinematics
from sim.fci.limits import Limits
from sim.fci.reference import DT_S, Reference, ReflexError, difference
from sim.fci.wire import Controller, Error
from sim.world.arm import WorldArm
from sim.world.world import World

Vector = NDArray[np.float64]
Command = dict[str, Vector]

JOINT_STIFFNESS_NM_RAD = np.array([3000.0, 3000.0, 3000.0, 2500.0, 2500.0, 2000.0, 2000.0])
JOINT_DAMPING_NMS_RAD = np.array([100.0, 100.0, 100.0, 80.0, 30.0, 25.0, 20.0])
"""Well damped at the stiffness above; another stiffness scales it by the root."""
CARTESIAN_STIFFNESS = np.array([3000.0, 3000.0, 3000.0, 300.0, 300.0, 300.0])
"""N/m and Nm/rad in the stiffness frame."""
DAMPING_RATIO = 1.0
NULL_STIFFNESS_NM_RAD, NULL_DAMPING_NMS_RAD = 20.0, 6.0
"""How the elbow keeps its set-point under Cartesian impedance."""
GUIDED_DAMPING_NMS_RAD = np.array([2.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0])
DAMPING_CYCLES = 20
"""The Cartesian damping follows the arm's pose this rarely."""
TAU_ROUNDING = 1.001


class ControlLaw(Protocol):
    """What turns a set-point, or a command of torques, into torques."""

    controller: Controller

    def torque(self, reference: Reference, command: Command | None) -> Vector:
        """(7,) Nm. Raises ReflexError."""


class JointImpedance:
    """Springs and dampers at the joints around the set-point, with inertia feed-forward; it also holds the idle arm."""

    controller = Controller.JOINT_IMPEDANCE

    def __init__(self, world: World | WorldArm, limits: Limits) -> None:
        """Begin with the robot's own stiffness; torques stay within `limits`."""
        self._world = world
        self._forward, self._wanted = np.zeros(world.model.nv), np.zeros(world.model.nv)
        self._most, self._least = limits.tau_nm, -limits.tau_nm
        self.set_stiffness(JOINT_STIFFNESS_NM_RAD)

    def set_stiffness(self, stiffness_nm_rad: Vector) -> None:
        """(7,) Nm/rad, from now on."""
        self._stiffness = stiffness_nm_rad.copy()
        self._damping = JOINT_DAMPING_NMS_RAD * np.sqrt(stiffness_nm_rad / JOINT_STIFFNESS_NM_RAD)

    def torque(self, reference: Reference, command: Command | None) -> Vector:
        """Torques towards the set-point, within those of the drives."""
        world = self._world
        tau = self.feed_forward(reference) + self._stiffness * (reference.q_rad - world.q_rad)
        tau += self._damping * (reference.dq_rad_s - world.dq_rad_s)
        clipped: Vector = np.minimum(np.maximum(tau, self._least), self._most)  # np.clip costs several times as much
        return clipped

    def feed_forward(self, reference: Reference) -> Vector:
        """(7,) Nm that accelerate the arm as the set-point accelerates."""
        world = self._world
        self._wanted[:7] = reference.ddq_rad_s2
        mujoco.mj_mulM(world.model, world.data, self._forward, self._wanted)
        forward: Vector = self._forward[:7]
        return forward


class Ideal:
    """The controller of an arm without physics: it is where the set-point is, however stiff."""

    def __init__(self, arm: KinematicArm, controller: Controller) -> None:
        """Stand in for `controller`, which is what the client asked for; the stiffness is kept and does nothing."""
        self._arm, self.controller = arm, controller
        self.ee_T_k = np.eye(4)
        self.stiffness = CARTESIAN_STIFFNESS.copy()
        self._none = np.zeros(7)

    def set_stiffness(self, stiffness: Vector) -> None:
        """Take note."""
        self.stiffness = stiffness.copy()

    def torque(self, reference: Reference, command: Command | None) -> Vector:
        """No torque: the arm is put there."""
        self._arm.follow(reference.q_rad, reference.dq_rad_s)
        return self._none


class CartesianImpedance:
    """Springs and dampers at the stiffness frame around the commanded pose; the elbow follows its set-point softly."""

    controller = Controller.CARTESIAN_IMPEDANCE

    def __init__(
        self, world: World | WorldArm, limits: Limits, kinematics: ArmKinematics, joints: JointImpedance
    ) -> None:
        """Begin with the robot's own stiffness, at the end effector; `joints` holds the elbow."""
        self._world, self._limits, self._kinematics, self._joints = world, limits, kinematics, joints
        self._springs = TaskSprings(world)
        self.ee_T_k = np.eye(4)
        """(4, 4) stiffness frame in the end effector's."""
        self.stiffness = CARTESIAN_STIFFNESS.copy()

    def set_stiffness(self, stiffness: Vector) -> None:
        """(6,) N/m and Nm/rad, from now on."""
        self.stiffness = stiffness.copy()
        self._springs = TaskSprings(self._world)

    def torque(self, reference: Reference, command: Command | None) -> Vector:
        """Torques towards the set-point, within those of the drives."""
        world = self._world
        frame = self._kinematics.pose(world.q_rad) @ self.ee_T_k
        jacobian = self._kinematics.jacobian(frame)
        error = difference(reference.pose @ self.ee_T_k, frame)
        lag = reference.dq_rad_s - world.dq_rad_s
        gap = NULL_STIFFNESS_NM_RAD * (reference.q_rad - world.q_rad) + NULL_DAMPING_NMS_RAD * lag
        gram = jacobian @ jacobian.T
        gram.flat[::7] += 1e-6
        wrench = self._springs.wrench(self.stiffness, jacobian, frame[:3, :3], error, jacobian @ lag)
        wrench -= np.linalg.solve(gram, jacobian @ gap)  # what of the elbow's spring would act on the hand
        tau = self._joints.feed_forward(reference) + gap + jacobian.T @ wrench
        clipped: Vector = np.clip(tau, -self._limits.tau_nm, self._limits.tau_nm)
        return clipped


class TaskSprings:
    """Springs and critical dampers between two frames."""

    def __init__(self, world: World | WorldArm) -> None:
        """Make room for the world's inertia matrix."""
        self._world = world
        self._mass = np.zeros((world.model.nv, world.model.nv))
        self._damping = np.zeros(6)
        self._calls = 0

    def wrench(self, stiffness: Vector, jacobian: Vector, rotation: Vector, error: Vector, rate: Vector) -> Vector:
        """(6,) in the base frame, of springs (6,) along the axes `rotation` (3, 3) against `error` and `rate` (6,)."""
        if self._calls % DAMPING_CYCLES == 0:
            self._damping = self._critical_damping(stiffness, jacobian, rotation)
        self._calls += 1
        error, rate = error.reshape(2, 3) @ rotation, rate.reshape(2, 3) @ rotation
        local = (stiffness * error.ravel() + self._damping * rate.ravel()).reshape(2, 3)
        result: Vector = (local @ rotation.T).ravel()
        return result

    def _critical_damping(self, stiffness: Vector, jacobian: Vector, rotation: Vector) -> Vector:
        world = self._world
        mujoco.mj_fullM(world.model, self._mass, world.data.qM)
        mobility = jacobian @ np.linalg.solve(self._mass[:7, :7], jacobian.T)
        axes = np.zeros((6, 6))
        axes[:3, :3] = axes[3:, 3:] = rotation
        inertia = 1.0 / np.diag(axes.T @ mobility @ axes)
        damping: Vector = 2.0 * DAMPING_RATIO * np.sqrt(stiffness * inertia)
        return damping


class Guiding:
    """A free arm in a hand's grip: only the directions that the client locked resist."""

    controller = Controller.OTHER

    def __init__(self, world: World | WorldArm, kinematics: ArmKinematics, free: Vector) -> None:
        """`free` (7,) tells which of x, y, z, R, P, Y and elbow move freely."""
        self._world, self._kinematics, self._springs = world, kinematics, TaskSprings(world)
        self._locked = CARTESIAN_STIFFNESS * ~free[:6].astype(bool)
        self._elbow_locked = not free[6]
        self._pose = kinematics.pose(world.q_rad)
        self._elbow_rad = float(world.q_rad[2])

    def torque(self, reference: Reference, command: Command | None) -> Vector:
        """Friction everywhere, springs along the locked axes of the end effector."""
        world = self._world
        tau = -GUIDED_DAMPING_NMS_RAD * world.dq_rad_s
        if self._locked.any():
            pose = self._kinematics.pose(world.q_rad)
            jacobian = self._kinematics.jacobian(pose)
            error, rate = difference(self._pose, pose), -jacobian @ world.dq_rad_s
            tau += jacobian.T @ self._springs.wrench(self._locked, jacobian, self._pose[:3, :3], error, rate)
        if self._elbow_locked:
            tau[2] += NULL_STIFFNESS_NM_RAD * (self._elbow_rad - world.q_rad[2])
        return np.asarray(tau, np.float64)


class ExternalTorque:
    """The client's torques act on the arm as they are, within limits of size, rate, travel and speed."""

    controller = Controller.EXTERNAL

    def __init__(self, world: World | WorldArm | KinematicArm, limits: Limits, filters: Filters) -> None:
        """Begin without torque; `filters` are those of the client's motion."""
        self._world, self._filters = world, filters
        self.tau_nm = np.zeros(7)
        """(7,) commanded last."""
        self._step = [TAU_ROUNDING * DT_S * limits.dtau_nm_s] * 7
        self._most = (TAU_ROUNDING * limits.tau_nm).tolist()
        self._speed = (1.05 * limits.dq_rad_s).tolist()
        self._middle = 0.5 * (limits.q_max_rad + limits.q_min_rad)
        self._travel = (0.5 * (limits.q_max_rad - limits.q_min_rad)).tolist()

    def torque(self, reference: Reference, command: Command | None) -> Vector:
        """Pass the torques through; a lost packet repeats the last ones."""
        world = self._world
        if command is not None:
            tau = blended(self._filters.torque, command["tau_J_d"], self.tau_nm)
            if not inside(tau - self.tau_nm, self._step):
                raise ReflexError(Error.CONTROLLER_TORQUE_DISCONTINUITY)
            if not inside(tau, self._most):
                raise ReflexError(Error.TAU_J_RANGE_VIOLATION)
            self.tau_nm[:] = tau
        if not inside(world.q_rad - self._middle, self._travel):
            raise ReflexError(Error.JOINT_POSITION_LIMITS_VIOLATION)
        if not inside(world.dq_rad_s, self._speed):
            raise ReflexError(Error.JOINT_VELOCITY_VIOLATION)
        return self.tau_nm
