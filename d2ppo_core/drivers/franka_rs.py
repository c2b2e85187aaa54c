"""Franka Panda and FR3 arms through franka-rs, whose 1 kHz loop is a thread that Python never holds up.

One wheel speaks server versions 5 and 10. A loop is told where to go; it plans the way within a budget, and rests there
by itself when nothing more is said.
"""

import contextlib
from dataclasses import replace
from typing import Any

import numpy as np

from d2ppo_core.compatibility import FRANKA_RS, client_named, explain_mismatch, franky_speaks
from d2ppo_core.drivers.connect_errors import VERSION, kind_of, not_connected, not_installed, one_line
from d2ppo_core.drivers.franka_config import FrankaConfig
from d2ppo_core.drivers.franka_guard import TrackingGuard
from d2ppo_core.drivers.franka_rs_loops import Ending, JointLoop, TrackingLoop
from d2ppo_core.drivers.server_version import server_version
from d2ppo_core.errors import RobotError
from d2ppo_core.geometry import Array, RigidState
from d2ppo_core.runtime.control.protocols import ArmReading, RobotMode
from d2ppo_core.runtime.safety.kinematics import posture

_MODES = {
    "idle": RobotMode.IDLE,
    "move": RobotMode.MOVE,
    "guiding": RobotMode.GUIDING,
    "reflex": RobotMode.REFLEX,
    "user_stopped": RobotMode.USER_STOPPED,
    "automatic_error_recovery": RobotMode.RECOVERY,
}


class FrankaRsArm:
    """The arm behind one connection; implements ``ArmDriver``."""

    def __init__(self, config: FrankaConfig) -> None:
        """Remember the configuration; nothing is opened yet."""
        self._config = config
        self._robot: Any = None
        self._loop: TrackingLoop | JointLoop | None = None
        self._last: Any = None
        self._ending: Ending | None = None
        self._guard: TrackingGuard | None = None
        self._next_motion: tuple[Array, float] | None = None

    @property
    def warning(self) -> str:
        """What a laboratory should know about this machine and this client, one line; empty when nothing."""
        config, warnings = self._config, [self._config.warning]
        if config.friction_nm or config.friction_nms_rad:
            warnings.append(f"client {FRANKA_RS} compensates no friction: friction_nm and friction_nms_rad are unused")
        return "; ".join(text for text in warnings if text)

    @property
    def commanded(self) -> RigidState | None:
        """Reference that the robot was told last; None before the first one."""
        return self._guard.commanded if self._guard is not None else None

    def connect(self) -> None:
        """Connect and set thresholds.

        Raises:
            RobotUnreachableError: Nobody answers now.
            RobotError: Anything that waiting does not cure, with what to do.
        """
        client, config = client_named(FRANKA_RS), self._config
        try:
            import franka
        except ImportError as error:
            raise not_installed(client, error) from error
        self._forget()
        found = server_version(config.address)
        if found not in client.servers:
            raise RobotError(explain_mismatch(found, franky_speaks()))
        torques, forces = [config.collision_torque_nm] * 7, [config.collision_force_n] * 6
        try:
            self._robot = franka.Robot(config.address, realtime="enforce" if config.enforces_realtime else "ignore")
            self._robot.set_collision_behavior_simple(torques, torques, forces, forces)
        except Exception as error:
            if kind_of(error) == VERSION:
                raise RobotError(explain_mismatch(found, franky_speaks())) from error
            raise not_connected("robot", config.address, error) from error

    def read(self) -> ArmReading:
        """Return the newest state: microseconds in a motion, up to a millisecond at rest."""
        try:
            state = self._state()
        except Exception as error:
            raise RobotError(f"robot at {self._config.address} stopped answering: {one_line(error)}") from error
        q_rad, dq_rad_s, pose = np.array(state.q), np.array(state.dq), np.array(state.O_T_EE)
        jacobian = replace(posture(q_rad, np.eye(4)), pose=pose).jacobian()
        return ArmReading(
            robot_time_ms=round(state.time * 1e3),
            mode=_MODES.get(state.robot_mode, RobotMode.OTHER),
            q_rad=q_rad,
            dq_rad_s=dq_rad_s,
            tau_nm=np.array(state.tau_J),
            tau_ext_nm=np.array(state.tau_ext_hat_filtered),
            measured=RigidState(pose, jacobian @ dq_rad_s),
            wrench=np.array(state.O_F_ext_hat_K),
            error=", ".join(state.last_motion_errors),
        )

    def _state(self) -> Any:
        """The state that the loop received last; without a loop, or when it came to its end, the robot's next.

        While a loop settles nobody else may read: each state taken from it is one that it does not answer. A loop that
        lost its robot while it ended would tell its last state for ever.
        """
        if self._loop is not None and (self._ending is None or self._ending.running):
            with contextlib.suppress(Exception):  # it was stopped, or ended a moment ago: ``motion_running`` tells why
                self._last = self._loop.state()
                return self._last
            if self._ending is not None and self._ending.running:
                return self._last
        return self._robot.read_once()

    def start_tracking(self) -> None:
        """Start the impedance controller; it holds the present pose until the first reference."""
        try:
            loop = TrackingLoop(self._robot, self._config)
        except Exception as error:
            raise RobotError(f"the robot does not start tracking: {one_line(error)}") from error
        self._loop, self._last = loop, loop.state()
        self._guard = TrackingGuard(loop.send, lambda: round(loop.state().time * 1e3), self._config.guard_s)

    def track(self, reference: RigidState) -> None:
        """Set pose and twist of the running controller."""
        if self._guard is None:
            raise RobotError("the tracking controller does not run")
        with contextlib.suppress(Exception):  # the robot may end the motion at any time: ``motion_running`` tells why
            self._guard.track(reference)

    def start_joint_motion(self, q_rad: Array, speed: float = 1.0) -> None:
        """Go to a joint position slowly; a running motion is stopped first."""
        motion = (np.asarray(q_rad, dtype=float), speed)
        if self._loop is not None and not self._loop.running and self._ending is None:
            self._forget()  # the robot itself ended it, e.g. by a user stop: why is known from its state
        if self._loop is None:
            self._move_joints(*motion)
            return
        self.stop()
        self._next_motion = motion

    def _move_joints(self, q_rad: Array, speed: float) -> None:
        try:
            loop = JointLoop(self._robot, q_rad, self._config, speed)
            self._loop, self._last = loop, loop.state()
        except Exception as error:
            raise RobotError(f"the robot does not move: {one_line(error)}") from error

    def motion_running(self) -> bool:
        """Tell whether a motion runs; a joint motion that waited for a stop is started here."""
        loop = self._loop
        if loop is None:
            return False
        if self._ending is None:
            if isinstance(loop, JointLoop) and loop.reached:
                self._ending = Ending(loop)
            elif not loop.running:
                self._ending = Ending(loop)
                self._ending.wait()  # it has its result
            else:
                return True
        if self._ending.running:
            return True
        error, next_motion = self._ending.error, self._next_motion
        self._forget()
        if error is not None:
            raise RobotError(one_line(error))
        if next_motion is not None:
            self._move_joints(*next_motion)
            return True
        return False

    def stop(self) -> None:
        """Come to rest at once, within the loop's budget. Without a motion there is nothing to stop."""
        self._next_motion = None
        loop = self._loop
        if loop is None or self._ending is not None:
            return
        try:
            loop.rest(self.commanded)
        except Exception as error:
            raise RobotError(f"the robot does not stop: {one_line(error)}") from error
        finally:
            self._ending = Ending(loop)
            self._end_guard()

    def recover(self) -> None:
        """Clear a reflex; the robot stands still afterwards."""
        self._forget()
        try:
            self._robot.automatic_error_recovery()
        except Exception as error:
            raise RobotError(f"recovery failed: {one_line(error)}") from error

    def close(self) -> None:
        """Stop and drop the connection; errors no longer matter."""
        try:
            self.stop()
        except RobotError:  # the robot may be gone already: nothing is left to stop
            pass
        self._forget()
        self._robot = None

    def _end_guard(self) -> None:
        if self._guard is not None:
            self._guard.close()
        self._guard = None

    def _forget(self) -> None:
        """There is no motion, and none waits; what still runs comes to its end."""
        self._end_guard()
        if self._loop is not None:
            (self._ending or Ending(self._loop)).wait()
        self._loop = self._ending = self._next_motion = None
