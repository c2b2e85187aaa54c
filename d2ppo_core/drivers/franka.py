"""Franka Panda (and FR3) arm and gripper through franky, the real libfranka client."""

import contextlib
import threading
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from d2ppo_core.drivers.base import ArmReading, RobotMode
from d2ppo_core.errors import ConfigError, RobotError, RobotUnreachableError
from d2ppo_core.geometry import Array
from d2ppo_core.runtime.osc import RigidState

PANDA_WHEEL = (
    "pip install franky-control --extra-index-url "
    "https://timschneider42.github.io/franky/whl/by-robot-server-version/5/"
)
"""A Panda speaks server version 5; franky is published for it on its own page."""

# The smaller of Panda's and FR3's limits per joint: franky's own defaults are those of the other robot in the
# Panda build, so they are always set.
_JOINT_VELOCITY = (2.175, 2.175, 2.175, 2.175, 2.61, 2.61, 2.61)
_JOINT_ACCELERATION = (10.0, 7.5, 10.0, 10.0, 10.0, 10.0, 10.0)
_JOINT_JERK = (5000.0, 3750.0, 5000.0, 5000.0, 5000.0, 5000.0, 5000.0)

# A Panda's travel; an FR3 ends earlier in some joints and guards those ends itself.
_JOINT_MIN_RAD = np.array([-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973])
_JOINT_MAX_RAD = np.array([2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973])


@dataclass(frozen=True, kw_only=True)
class FrankaConfig:
    """How the arm is driven.

    Attributes:
        address: Host name or address of the robot.
        stiffness_n_m: Translational stiffness of the tracking controller.
        stiffness_nm_rad: Rotational stiffness.
        effective_mass_kg: Mass that the hand presents to the controller; translational damping is critical for it.
            franky's own default is critical for 1 kg, which lets a Panda overshoot.
        max_force_n: Greatest force of the tracking controller, whatever holds the arm back; below the reflex threshold.
        max_torque_nm: The same for its torque.
        posture_stiffness_nm_rad: Stiffness with which the elbow is kept, in the null space.
        collision_torque_nm: Joint torque above which the robot stops itself.
        collision_force_n: Cartesian force above which the robot stops itself.
        homing_dynamics: Fraction of the joint limits used on the way home.
    """

    address: str
    stiffness_n_m: float = 1000.0
    stiffness_nm_rad: float = 40.0
    effective_mass_kg: float = 4.0
    max_force_n: float = 25.0
    max_torque_nm: float = 8.0
    posture_stiffness_nm_rad: float = 5.0
    collision_torque_nm: float = 40.0
    collision_force_n: float = 40.0
    homing_dynamics: float = 0.15

    def __post_init__(self) -> None:
        bounds = {
            "stiffness_n_m": (10.0, 3000.0),
            "stiffness_nm_rad": (1.0, 200.0),
            "effective_mass_kg": (0.5, 10.0),
            "max_force_n": (1.0, 100.0),
            "max_torque_nm": (0.5, 30.0),
            "posture_stiffness_nm_rad": (0.0, 50.0),
            "collision_torque_nm": (5.0, 100.0),
            "collision_force_n": (5.0, 150.0),
            "homing_dynamics": (0.01, 0.5),
        }
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"{name} must lie in [{low}, {high}], got {value}")


class FrankaArm:
    """The arm behind one libfranka connection; implements ``ArmDriver``."""

    def __init__(self, config: FrankaConfig) -> None:
        """Remember the configuration; nothing is opened yet."""
        self._config = config
        self._franky: Any = None
        self._robot: Any = None
        self._tracker: Any = None
        self._stopping = False
        self._next_joints: Array | None = None

    def connect(self) -> None:
        """Connect and set limits and thresholds.

        Raises:
            RobotError: franky is not installed or speaks another protocol than the robot.
            RobotUnreachableError: Nobody answers.
        """
        try:
            import franky
        except ImportError as error:
            raise RobotError(f"franky is not installed ({error}); run: pip install 'd2ppo-panda[franka]'") from error
        self._franky = franky
        self._tracker, self._stopping, self._next_joints = None, False, None
        try:
            self._robot = franky.Robot(self._config.address, realtime_config=franky.RealtimeConfig.Ignore)
            self._apply_limits()
        except franky.IncompatibleVersionException as error:
            raise RobotError(f"{error}. For a Panda (server version 5) run: {PANDA_WHEEL}") from error
        except Exception as error:
            raise RobotUnreachableError(
                f"no robot answers at {self._config.address} ({_line(error)}); check power, network and that FCI is on"
            ) from error

    def _apply_limits(self) -> None:
        robot, config = self._robot, self._config
        robot.relative_dynamics_factor = config.homing_dynamics
        robot.joint_velocity_limit.set(np.array(_JOINT_VELOCITY))
        robot.joint_acceleration_limit.set(np.array(_JOINT_ACCELERATION))
        robot.joint_jerk_limit.set(np.array(_JOINT_JERK))
        robot.set_collision_behavior(config.collision_torque_nm, config.collision_force_n)

    def read(self) -> ArmReading:
        """Return the newest state: microseconds in a motion, up to a millisecond at rest."""
        try:
            state = self._robot.state
        except Exception as error:
            raise RobotError(f"robot at {self._config.address} stopped answering: {_line(error)}") from error
        twist = state.O_dP_EE_est
        rate = np.zeros(6) if twist is None else np.concatenate([twist.linear, twist.angular])
        return ArmReading(
            robot_time_ms=state.time.to_msec(),
            mode=RobotMode(int(state.robot_mode)),
            q_rad=np.asarray(state.q),
            dq_rad_s=np.asarray(state.dq),
            tau_ext_nm=np.asarray(state.tau_ext_hat_filtered),
            measured=RigidState(np.asarray(state.O_T_EE.matrix), rate),
            wrench=np.asarray(state.O_F_ext_hat_K),
            error=str(state.last_motion_errors).strip("[]"),
        )

    def start_tracking(self) -> None:
        """Start the impedance controller; it holds the present pose until the first reference."""
        config = self._config
        damping = [2.0 * (config.stiffness_n_m * config.effective_mass_kg) ** 0.5] * 3
        damping += [2.0 * config.stiffness_nm_rad**0.5] * 3
        try:
            self._tracker = self._franky.CartesianImpedanceTracker(
                self._robot,
                translational_stiffness=config.stiffness_n_m,
                rotational_stiffness=config.stiffness_nm_rad,
                damping=np.array(damping),
                translational_error_clip=np.full(3, config.max_force_n / config.stiffness_n_m),
                rotational_error_clip=np.full(3, config.max_torque_nm / config.stiffness_nm_rad),
                posture_task=self._franky.PostureTask(self._robot.state.q, config.posture_stiffness_nm_rad),
            )
        except Exception as error:
            self._tracker = None
            raise RobotError(f"the robot does not start tracking: {_line(error)}") from error

    def track(self, reference: RigidState) -> None:
        """Set pose and twist of the running controller."""
        self._tracker.set_target(
            self._franky.Affine(reference.pose), self._franky.Twist(reference.twist[:3], reference.twist[3:])
        )

    def start_joint_motion(self, q_rad: Array) -> None:
        """Go to a joint position slowly; a running controller is stopped first."""
        joints = np.asarray(q_rad, dtype=float)
        self._forget_ended_motion()
        if self._tracker is None and not self._stopping:
            self._move_joints(joints)
            return
        if self._tracker is not None:
            self.stop()
        self._next_joints = joints

    def _forget_ended_motion(self) -> None:
        """Take note that the robot itself ended the last motion, e.g. by a user stop: why is known from its state."""
        if not self._robot.is_in_control:
            with contextlib.suppress(Exception):  # the cause of the end would surface at the next motion instead
                self._robot.poll_motion()
            self._tracker, self._stopping, self._next_joints = None, False, None

    def _move_joints(self, q_rad: Array) -> None:
        self._start(self._franky.JointMotion(q_rad))

    def _start(self, motion: Any) -> None:
        try:
            self._robot.move(motion, asynchronous=True)
        except Exception as error:
            raise RobotError(f"the robot does not move: {_line(error)}") from error

    def motion_running(self) -> bool:
        """Tell whether a motion runs; a joint motion that waited for a stop is started here."""
        try:
            if not self._robot.poll_motion() or self._robot.is_in_control:
                return True
        except Exception as error:
            self._tracker, self._stopping, self._next_joints = None, False, None
            raise RobotError(_line(error)) from error
        self._tracker, self._stopping = None, False
        if self._next_joints is not None:
            joints, self._next_joints = self._next_joints, None
            self._move_joints(joints)
            return True
        return False

    def stop(self) -> None:
        """Take the torque of the tracking controller down smoothly; position motions decelerate within limits.

        Without a connection there is nothing to stop.
        """
        self._next_joints = None
        if self._robot is None:
            return
        if self._tracker is not None:
            self._tracker, self._stopping = None, True
            self._start(self._franky.TorqueStopMotion())
        elif self._robot.is_in_control and not self._stopping:
            self._start(self._franky.JointStopMotion())

    def recover(self) -> None:
        """Clear a reflex; the robot stands still afterwards."""
        self._tracker, self._stopping, self._next_joints = None, False, None
        with contextlib.suppress(Exception):  # what ended the last motion is known; it would surface at the next one
            self._robot.poll_motion()
        try:
            self._robot.recover_from_errors()
        except Exception as error:
            raise RobotError(f"recovery failed: {_line(error)}") from error

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
        self._robot = self._tracker = None


@dataclass(frozen=True, kw_only=True)
class GripperConfig:
    """How the hand is driven: speed, force, and the width below which a command closes with force."""

    address: str
    speed_m_s: float = 0.1
    force_n: float = 30.0
    close_below_m: float = 0.005


class FrankaGripper:
    """The Franka hand in a thread of its own, because its calls block for as long as the fingers move."""

    def __init__(self, config: GripperConfig) -> None:
        """Remember the configuration; nothing is opened yet."""
        self._config = config
        self._gripper: Any = None
        self._wanted: float | None = None
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.width_m = 0.0
        self.grasped = False
        self.fault = ""

    def connect(self) -> None:
        """Connect and start the thread; RobotError when nobody answers."""
        try:
            import franky

            self._gripper = franky.Gripper(self._config.address)
            self._read()
        except ImportError as error:
            raise RobotError(f"franky is not installed ({error}); run: pip install 'd2ppo-panda[franka]'") from error
        except Exception as error:
            raise RobotUnreachableError(f"no gripper answers at {self._config.address}: {_line(error)}") from error
        self._stop.clear()
        self._wanted = None
        self._thread = threading.Thread(target=self._run, name="franka-gripper", daemon=True)
        self._thread.start()

    def command(self, width_m: float) -> None:
        """Ask for an opening in m; the newest command replaces one that still runs."""
        if width_m != self._wanted:
            self._wanted = width_m
            self._wake.set()

    def close(self) -> None:
        """End the thread and drop the connection."""
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=2.0)
        self._gripper = None

    def _run(self) -> None:
        running: Any = None
        begun: float | None = None
        while not self._stop.is_set():
            try:
                self._wake.wait(timeout=0.02)
                self._wake.clear()
                wanted = self._wanted
                if wanted != begun:  # still so after a command that failed to begin: it is tried again
                    if running is not None and not running.wait(0.0):
                        self._gripper.stop()
                        _result(running)
                    running = self._begin(wanted)
                    begun = wanted
                self._read()
                if running is not None and running.wait(0.0):
                    _result(running)
                    running = None
                self.fault = ""
            except Exception as error:
                self.fault = _line(error)
                running = None
                time.sleep(0.1)

    def _begin(self, width_m: float | None) -> Any:
        if width_m is None or self._stop.is_set():
            return None
        config = self._config
        if width_m < config.close_below_m:
            return self._gripper.grasp_async(
                0.0, config.speed_m_s, config.force_n, epsilon_inner=0.01, epsilon_outer=0.09
            )
        return self._gripper.move_async(width_m, config.speed_m_s)

    def _read(self) -> None:
        state = self._gripper.state
        self.width_m, self.grasped = float(state.width), bool(state.is_grasped)


def _result(future: Any) -> None:
    """Collect the outcome of a finished command; a stopped one ends with an error that is expected."""
    try:
        future.get()
    except Exception:
        return


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
