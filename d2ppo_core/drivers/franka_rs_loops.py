"""The two control loops of franka-rs that the arm needs, and how one ends."""

import contextlib
import threading
import time
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from d2ppo_core.drivers.franka_config import FrankaConfig
from d2ppo_core.geometry import Array, RigidState, moved_by
from d2ppo_core.runtime.safety.robots import robot_named

_SHARE = 0.9
"""Of the robot's acceleration and jerk that the loop may plan with: it must never be what is in the way."""
_AHEAD_S = 0.02
"""A reference is as old as half its period when it arrives, and the loop takes a while to get there."""
_WAY_M, _TURN_RAD = 2.0, 3.1
"""How far the hand may stray from where tracking began; workspace and joints are the safety filter's business."""
_TURNS_RAD = 6.0
_REACHED_RAD, _REACHED_RAD_S = 1e-4, 1e-3
_LONGEST_END_S = 5.0
_SLOW_RAD_S, _STOP_S, _LOOK_S = 0.02, 0.4, 1e-3
"""Joints as slow as this may be left to the robot's own brake, and after that time they are."""


class TrackingLoop:
    """Cartesian impedance around a target that is moved at every reference."""

    def __init__(self, robot: Any, config: FrankaConfig) -> None:
        """Start it on a ``franka.Robot``; raises whatever franka-rs does."""
        self._robot, limits = robot, robot_named(config.robot)
        damping = [2.0 * (config.stiffness_n_m * config.effective_mass_kg) ** 0.5] * 3
        damping += [2.0 * (config.stiffness_nm_rad * config.effective_inertia_kg_m2) ** 0.5] * 3
        self._braking = tuple(_SHARE * each for each in limits.acceleration)
        self._loop = robot.cartesian_targets(
            max_velocity=limits.speed[0],
            max_acceleration=self._braking[0],
            max_jerk=_SHARE * limits.jerk[0],
            max_deviation=_WAY_M,
            max_angular_velocity=limits.speed[1],
            max_angular_acceleration=self._braking[1],
            max_angular_jerk=_SHARE * limits.jerk[1],
            max_angular_deviation=_TURN_RAD,
            cartesian_stiffness=[config.stiffness_n_m] * 3 + [config.stiffness_nm_rad] * 3,
            cartesian_damping=damping,
            joint_stiffness=[config.posture_stiffness_nm_rad] * 7,
            joint_damping=[2.0 * config.posture_stiffness_nm_rad**0.5] * 7,
            project_joint_gains=True,  # the elbow's gains stay in the null space
            leash=(config.max_force_n / config.stiffness_n_m, config.max_torque_nm / config.stiffness_nm_rad),
            velocity_feedforward=True,  # else damping would hold every motion back
        )

    @property
    def running(self) -> bool:
        """Whether the loop goes on."""
        return bool(self._loop.running)

    def state(self) -> Any:
        """Return the state that the loop received last."""
        return self._loop.state()

    def send(self, reference: RigidState) -> None:
        """Move the target to where the reference will be when the loop gets there."""
        self._aim(moved_by(reference.pose, reference.twist * _AHEAD_S))

    def rest(self, reference: RigidState | None) -> None:
        """Aim at where the arm can stop first; without a reference it rests already."""
        if reference is None:
            return
        speeds = np.linalg.norm(reference.twist[:3]), np.linalg.norm(reference.twist[3:])
        times_s = [speed / (2.0 * braking) for speed, braking in zip(speeds, self._braking, strict=True)]
        self._aim(moved_by(reference.pose, reference.twist * np.repeat(times_s, 3)))

    def end(self) -> None:
        """Wait until the arm is slow and finish there; raises what ended the loop before.

        Finishing as franka-rs does it would wait until the spring has swung out.
        """
        preempted = self._wait_until_slow()
        try:
            if preempted:
                self._robot.stop()
        finally:
            with contextlib.suppress(Exception) if preempted else contextlib.nullcontext():
                self._loop.stop()

    def _wait_until_slow(self) -> bool:
        """Wait no longer than a stop may take, by the robot's clock; whether the loop still runs then."""
        begun_s, until_s = self.state().time, time.monotonic() + _LONGEST_END_S
        while self.running and time.monotonic() < until_s:
            state = self.state()
            if np.abs(state.dq).max() < _SLOW_RAD_S or state.time - begun_s > _STOP_S:
                break
            time.sleep(_LOOK_S)
        return self.running

    def _aim(self, pose: Array) -> None:
        self._loop.move_to(np.concatenate([pose[:3, 3], Rotation.from_matrix(pose[:3, :3]).as_quat()]))


class JointLoop:
    """A joint motion, tracked by the robot's own position controller."""

    def __init__(self, robot: Any, q_rad: Array, config: FrankaConfig, speed: float) -> None:
        """Start towards the angles (7,) at a fraction of homing's speed; raises whatever franka-rs does."""
        share = config.homing_dynamics * speed
        self._braking = share * robot_named(config.robot).ddq_rad_s2
        self._loop = robot.joint_targets(fraction=share, max_deviation=_TURNS_RAD, backend="robot")
        self._target = q_rad
        self._loop.move_to(q_rad)

    @property
    def running(self) -> bool:
        """Whether the loop goes on."""
        return bool(self._loop.running)

    @property
    def reached(self) -> bool:
        """Whether the robot was told the last angles of the way."""
        if not self.running:
            return False
        state = self.state()
        away, speed = np.abs(state.q_d - self._target).max(), np.abs(state.dq_d).max()
        return bool(away < _REACHED_RAD and speed < _REACHED_RAD_S)

    def state(self) -> Any:
        """Return the state that the loop received last."""
        return self._loop.state()

    def rest(self, _: RigidState | None = None) -> None:
        """Turn the way into one that ends where the joints can stop first."""
        state = self.state()
        to_go, least = np.abs(self._target - state.q_d), state.dq_d**2 / (2.0 * self._braking)
        self._target = state.q_d + np.sign(state.dq_d) * np.minimum(to_go, least)
        self._loop.move_to(self._target)

    def end(self) -> None:
        """Settle on the target and finish; raises what ended the loop before."""
        self._loop.stop()


class Ending:
    """Ends a loop in a thread of its own, because that waits until the arm has settled."""

    def __init__(self, loop: TrackingLoop | JointLoop) -> None:
        """Begin to end it."""
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run, args=(loop,), name="franka-rs-end", daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether the arm still settles."""
        return self._thread.is_alive()

    def wait(self) -> None:
        """Wait for the end, not for ever."""
        self._thread.join(_LONGEST_END_S)

    def _run(self, loop: TrackingLoop | JointLoop) -> None:
        try:
            loop.end()
        except Exception as error:
            self.error = error.with_traceback(None)  # its frames would hold the connection, which the robot has one of
