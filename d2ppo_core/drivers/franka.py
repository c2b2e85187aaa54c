"""Franka Panda and FR3 arms through franky, the real libfranka client."""

import contextlib
from typing import Any

import numpy as np

from d2ppo_core.compatibility import FRANKY, client_named, explain_mismatch, franky_speaks
from d2ppo_core.drivers.connect_errors import VERSION, kind_of, not_connected, not_installed, one_line
from d2ppo_core.drivers.franka_config import FrankaConfig, set_limits
from d2ppo_core.drivers.franka_gripper import FrankaGripper, GripperConfig
from d2ppo_core.drivers.franka_guard import TrackingGuard
from d2ppo_core.drivers.franka_tracking import ImpedanceTracking
from d2ppo_core.drivers.server_version import server_version
from d2ppo_core.errors import RobotError
from d2ppo_core.geometry import Array, RigidState
from d2ppo_core.runtime.control.protocols import ArmReading, RobotMode
from d2ppo_core.runtime.safety.robots import robot_named

__all__ = ["FrankaArm", "FrankaConfig", "FrankaGripper", "GripperConfig"]


class FrankaArm:
    """The arm behind one libfranka connection; implements ``ArmDriver``."""

    def __init__(self, config: FrankaConfig) -> None:
        """Remember the configuration; nothing is opened yet."""
        self._config = config
        self._franky: Any = None
        self._robot: Any = None
        self._guard: TrackingGuard | None = None
        self._stopping = False
        self._next_motion: tuple[Array, float] | None = None

    @property
    def warning(self) -> str:
        """What a laboratory should know about this machine, one line; empty when nothing."""
        return self._config.warning

    @property
    def commanded(self) -> RigidState | None:
        """Reference that the robot was told last; None before the first one."""
        return self._guard.commanded if self._guard is not None else None

    def connect(self) -> None:
        """Connect and set limits and thresholds.

        Raises:
            RobotUnreachableError: Nobody answers now.
            RobotError: Anything that waiting does not cure: franky is not installed, speaks another version than the
                robot or misses a real-time kernel; the address is none or no robot's; the robot refused its set-up.
        """
        try:
            import franky
        except ImportError as error:
            raise not_installed(client_named(FRANKY), error) from error
        self._franky = franky
        self._forget()
        config = self._config
        found = server_version(config.address)
        realtime = franky.RealtimeConfig.Enforce if config.enforces_realtime else franky.RealtimeConfig.Ignore
        try:
            self._robot = franky.Robot(config.address, realtime_config=realtime)
            self._robot.relative_dynamics_factor = config.homing_dynamics
            set_limits(self._robot, robot_named(config.robot))
            self._robot.set_collision_behavior(config.collision_torque_nm, config.collision_force_n)
        except Exception as error:
            if kind_of(error) == VERSION:
                raise RobotError(explain_mismatch(found, franky_speaks())) from error
            raise not_connected("robot", config.address, error) from error

    def read(self) -> ArmReading:
        """Return the newest state: microseconds in a motion, up to a millisecond at rest."""
        try:
            state = self._robot.state
        except Exception as error:
            raise RobotError(f"robot at {self._config.address} stopped answering: {one_line(error)}") from error
        twist = state.O_dP_EE_est
        rate = np.zeros(6) if twist is None else np.concatenate([twist.linear, twist.angular])
        return ArmReading(
            robot_time_ms=state.time.to_msec(),
            mode=RobotMode(int(state.robot_mode)),
            q_rad=np.asarray(state.q),
            dq_rad_s=np.asarray(state.dq),
            tau_nm=np.asarray(state.tau_J),
            tau_ext_nm=np.asarray(state.tau_ext_hat_filtered),
            measured=RigidState(np.asarray(state.O_T_EE.matrix), rate),
            wrench=np.asarray(state.O_F_ext_hat_K),
            error=str(state.last_motion_errors).strip("[]"),
        )

    def start_tracking(self) -> None:
        """Start the impedance controller; it holds the present pose until the first reference."""
        try:
            tracking = ImpedanceTracking(self._franky, self._robot, self._config)
        except Exception as error:
            raise RobotError(f"the robot does not start tracking: {one_line(error)}") from error
        robot = self._robot
        self._guard = TrackingGuard(tracking.send, lambda: int(robot.state.time.to_msec()), self._config.guard_s)

    def track(self, reference: RigidState) -> None:
        """Set pose and twist of the running controller; the acceleration of a ``Motion`` is fed forward."""
        if self._guard is None:
            raise RobotError("the tracking controller does not run")
        try:
            self._guard.track(reference)
        except Exception as error:  # the robot may go between its state and its reference
            raise RobotError(f"robot at {self._config.address} stopped answering: {one_line(error)}") from error

    def start_joint_motion(self, q_rad: Array, speed: float = 1.0) -> None:
        """Go to a joint position slowly; a running controller is stopped first."""
        joints = np.asarray(q_rad, dtype=float)
        self._forget_ended_motion()
        if self._guard is None and not self._stopping:
            self._move_joints(joints, speed)
            return
        if self._guard is not None:
            self.stop()
        self._next_motion = (joints, speed)

    def _forget_ended_motion(self) -> None:
        """Take note that the robot itself ended the last motion, e.g. by a user stop: why is known from its state."""
        if not self._robot.is_in_control:
            with contextlib.suppress(Exception):  # the cause of the end would surface at the next motion instead
                self._robot.poll_motion()
            self._forget()

    def _forget(self) -> None:
        """There is no motion, and none waits."""
        self._end_tracking()
        self._stopping, self._next_motion = False, None

    def _end_tracking(self) -> None:
        if self._guard is not None:
            self._guard.close()
        self._guard = None

    def _move_joints(self, q_rad: Array, speed: float) -> None:
        self._start(self._franky.JointMotion(q_rad, relative_dynamics_factor=speed))

    def _start(self, motion: Any) -> None:
        try:
            self._robot.move(motion, asynchronous=True)
        except Exception as error:
            raise RobotError(f"the robot does not move: {one_line(error)}") from error

    def motion_running(self) -> bool:
        """Tell whether a motion runs; a joint motion that waited for a stop is started here."""
        try:
            if not self._robot.poll_motion() or self._robot.is_in_control:
                return True
        except Exception as error:
            self._forget()
            raise RobotError(one_line(error)) from error
        next_motion = self._next_motion
        self._forget()
        if next_motion is not None:
            self._move_joints(*next_motion)
            return True
        return False

    def stop(self) -> None:
        """Take the torque of the tracking controller down smoothly; position motions decelerate within limits.

        Without a connection there is nothing to stop.
        """
        self._next_motion = None
        if self._robot is None:
            return
        if self._guard is not None:
            self._stopping = True
            try:
                self._start(self._franky.TorqueStopMotion())
            finally:
                self._end_tracking()  # after the robot was told: the guard's thread may take its time to end
        elif self._robot.is_in_control and not self._stopping:
            self._start(self._franky.JointStopMotion())

    def recover(self) -> None:
        """Clear a reflex; the robot stands still afterwards."""
        self._forget()
        with contextlib.suppress(Exception):  # what ended the last motion is known; it would surface at the next one
            self._robot.poll_motion()
        try:
            self._robot.recover_from_errors()
        except Exception as error:
            raise RobotError(f"recovery failed: {one_line(error)}") from error

    def close(self) -> None:
        """Stop and drop the connection; errors no longer matter."""
        if self._robot is None:
            return
        try:
            if self._robot.is_in_control:
                self.stop()
                self._robot.join_motion(timeout=1.0)
        except Exception:  # the robot may be gone already: nothing is left to stop
            pass
        self._end_tracking()
        self._robot = None
