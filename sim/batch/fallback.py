"""The same kernel in NumPy, for machines without a C++ compiler: same numbers, an order of magnitude slower.

It is also the readable version of csrc/osc.cpp. One thread, one world after the other.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import mujoco
import numpy as np
from numpy.typing import NDArray

from sim.batch.layout import ACTION_SIZE, ArmIndex, Layout
from sim.batch.operational_space import (
    POSTURE_KP,
    inverse_pose,
    matrix_of_quat,
    operational_space,
    orientation_error,
    pose_of,
    posture_torques,
    quat_of_axis_angle,
)
from sim.tasks.taps import ResolvedTaps, read

Array = NDArray[np.float64]

ACTION_SCALE = np.array([0.05, 0.05, 0.05, 0.5, 0.5, 0.5])
GRIPPER_SPEED = 0.2
_INTEGRATION = mujoco.mjtState.mjSTATE_INTEGRATION


@dataclass
class _Measurement:
    """What the controller measures, once per substep."""

    position: Array
    rotation: Array
    velocity: Array
    angular_velocity: Array
    jacobian: Array
    inertia: Array
    q: Array
    dq: Array


@dataclass
class _Arm:
    """OSC_POSE of one arm; see csrc/osc.hpp."""

    index: ArmIndex
    kp: float = 150.0
    damping_ratio: float = 1.0
    posture: Array = field(default_factory=lambda: np.zeros(7))
    goal_position: Array = field(default_factory=lambda: np.zeros(3))
    goal_rotation: Array = field(default_factory=lambda: np.eye(3))
    gripper: Array = field(default_factory=lambda: np.zeros(2))
    kept: _Measurement | None = None
    """Of the reset, or of SetGoal in this substep: still to be used."""

    def measure(self, model: mujoco.MjModel, data: mujoco.MjData) -> _Measurement:
        linear, angular = np.zeros((3, model.nv)), np.zeros((3, model.nv))
        mujoco.mj_jacSite(model, data, linear, angular, self.index.grip_site)
        inertia = np.empty((model.nv, model.nv))
        mujoco.mj_fullM(model, inertia, data.qM)
        dofs = list(self.index.dof)
        of_arm = np.zeros((6, len(dofs)))
        of_arm[:] = np.vstack([linear[:, dofs], angular[:, dofs]])
        return _Measurement(
            position=data.site_xpos[self.index.grip_site].copy(),
            rotation=data.site_xmat[self.index.grip_site].reshape(3, 3).copy(),
            velocity=np.dot(linear, data.qvel),
            angular_velocity=np.dot(angular, data.qvel),
            jacobian=of_arm,
            inertia=inertia[dofs, :][:, dofs],
            q=data.qpos[list(self.index.qpos)],
            dq=data.qvel[dofs],
        )

    def reset(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        self.kept = self.measure(model, data)
        self.goal_position, self.goal_rotation = self.achieved(data, self.kept)
        self.posture, self.gripper = self.kept.q, np.zeros(2)

    def achieved(self, data: mujoco.MjData, now: _Measurement) -> tuple[Array, Array]:
        """Pose of the hand in the base frame."""
        base = data.site_xmat[self.index.base_site].reshape(3, 3)
        from_world = inverse_pose(pose_of(data.site_xpos[self.index.base_site], base))
        position = from_world.dot(pose_of(now.position, np.eye(3)))[:3, 3]
        return position, from_world.dot(pose_of(now.position, now.rotation))[:3, :3]

    def set_goal(self, model: mujoco.MjModel, data: mujoco.MjData, action: Array) -> None:
        self.kept = self.kept or self.measure(model, data)
        delta = np.clip(action[:6], -1.0, 1.0) * ACTION_SCALE
        position, rotation = self.achieved(data, self.kept)
        self.goal_position = position + delta[:3]
        self.goal_rotation = np.dot(matrix_of_quat(quat_of_axis_angle(delta[3:])), rotation)
        self.gripper = np.clip(self.gripper + np.array([-1.0, 1.0]) * GRIPPER_SPEED * np.sign(action[6]), -1.0, 1.0)

    def control(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        now, self.kept = self.kept or self.measure(model, data), None
        base = data.site_xmat[self.index.base_site].reshape(3, 3)
        goal = data.site_xpos[self.index.base_site] + np.dot(base, self.goal_position)
        turn = orientation_error(np.dot(base, self.goal_rotation), now.rotation)
        kp, kd = np.full(3, self.kp), np.full(3, 2.0 * np.sqrt(self.kp) * self.damping_ratio)
        force = np.multiply(goal - now.position, kp) + np.multiply(-now.velocity, kd)
        torque = np.multiply(turn, kp) + np.multiply(-now.angular_velocity, kd)
        linear, angular, nullspace = operational_space(
            now.inertia, now.jacobian, now.jacobian[:3].copy(), now.jacobian[3:].copy()
        )
        wrench = np.concatenate([np.dot(linear, force), np.dot(angular, torque)])
        torques = np.dot(now.jacobian.T, wrench) + data.qfrc_bias[list(self.index.dof)]
        torques += posture_torques(now.inertia, nullspace, self.posture, now.q, now.dq, POSTURE_KP)
        low, high = model.actuator_ctrlrange[list(self.index.actuator)].T
        data.ctrl[list(self.index.actuator)] = np.clip(torques, low, high)
        low, high = model.actuator_ctrlrange[list(self.index.gripper_actuator)].T
        fingers = 0.5 * (high + low) + 0.5 * (high - low) * self.gripper
        data.ctrl[list(self.index.gripper_actuator)] = np.clip(fingers, low, high)


class NumpyKernel:
    """As `NativeKernel`, in Python."""

    def __init__(self, model: mujoco.MjModel, layout: Layout, num_envs: int) -> None:
        """Make the worlds; they have no defined state before the first `reset`."""
        self.model, self.layout, self.num_envs = model, layout, num_envs
        self._live = mujoco.MjModel.__copy__(model) if layout.table.width else model
        self.data = [mujoco.MjData(model) for _ in range(num_envs)]
        self.observations = np.zeros((num_envs, layout.observation_taps.width))
        self.parameters = np.tile(layout.table.row(model), (num_envs, 1))
        self._arms = [[_Arm(index) for index in layout.arms] for _ in range(num_envs)]
        self._delays = np.zeros((num_envs, 2), int)

    def reset(self, mask: NDArray[np.bool_], home: Array, qpos: Array, qvel: Array) -> None:
        """Start episodes; see `NativeKernel.reset`."""
        for env in np.flatnonzero(mask).tolist():
            model, data = self._model_of(env), self.data[env]
            mujoco.mj_resetData(model, data)
            for arm, q in zip(self._arms[env], home[env], strict=True):
                data.qpos[list(arm.index.qpos)] = q
            mujoco.mj_step1(model, data)
            for arm in self._arms[env]:
                arm.reset(model, data)
            data.qpos[:], data.qvel[:] = qpos[env], qvel[env]
            mujoco.mj_forward(model, data)
            self._read(env, self.layout.observation_taps, self.observations[env])

    def step(self, actions: Array, steps: NDArray[np.int32]) -> tuple[Array, NDArray[np.bool_]]:
        """Execute actions; see `NativeKernel.step`."""
        rows = np.empty((*actions.shape[:2], self.layout.step_taps.width))
        diverged = np.zeros(self.num_envs, bool)
        for env in range(self.num_envs):
            for t in range(steps[env]):
                if not diverged[env]:
                    diverged[env] = not self._step(env, actions[env, t], rows[env, t])
        return rows, diverged

    def set_controller(
        self, env: int, *, kp: float, damping_ratio: float, action_delay: int, observation_delay: int
    ) -> None:
        """Change one world's controller; see `NativeKernel.set_controller`."""
        for arm in self._arms[env]:
            arm.kp, arm.damping_ratio = kp, damping_ratio
        self._delays[env] = action_delay, observation_delay

    def close(self) -> None:
        """Nothing to free."""

    def _step(self, env: int, action: Array, row: Array) -> bool:
        model, data, arms = self._model_of(env), self.data[env], self._arms[env]
        action_delay, observation_delay = self._delays[env]
        last = self.layout.substeps - 1
        for substep in range(last + 1):
            for i, arm in enumerate(arms):
                if substep == action_delay:
                    arm.set_goal(model, data, action[i * ACTION_SIZE : (i + 1) * ACTION_SIZE])
            for arm in arms:
                arm.control(model, data)
            mujoco.mj_step2(model, data)
            if substep == last:
                self._read(env, self.layout.step_taps, row)
            mujoco.mj_step1(model, data)
            if substep == last - observation_delay:
                self._read(env, self.layout.observation_taps, self.observations[env])
        bad = (mujoco.mjtWarning.mjWARN_BADQPOS, mujoco.mjtWarning.mjWARN_BADQVEL, mujoco.mjtWarning.mjWARN_BADQACC)
        return not any(data.warning[kind].number for kind in bad)

    def _model_of(self, env: int) -> mujoco.MjModel:
        if self.layout.table.width:
            self.layout.table.write(self._live, self.parameters[env])
        return self._live

    def _read(self, env: int, taps: ResolvedTaps, row: Array) -> None:
        read(self.data[env], taps, self.layout.geom_groups, row)
