"""One simulated world with one arm in it, advanced a millisecond at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from d2ppo_core.errors import WorldError
from sim.fingers import Fingers
from sim.tasks.base import Task

ARM_JOINTS = tuple(f"robot0_joint{i}" for i in range(1, 8))
_BASE, _EE_SITE = "robot0_base", "O_T_EE"
_EXTERNAL_TORQUE_CUTOFF_HZ = 30.0


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """All that a renderer needs to know about an instant."""

    stamp_ns: int
    """Simulated time of the instant."""
    qpos: NDArray[np.float64]
    """(nq,) generalised positions."""


class World:
    """Physics of one task. Torques are commanded as in the Franka Control Interface: gravity is compensated already.

    Between two steps `data` holds up-to-date kinematics (mj_step1 has run), so poses may be read at any time.
    """

    def __init__(self, task: Task, seed: int = 0) -> None:
        """Load the world and start an episode.

        Raises:
            WorldError: the model file is missing or not a world with a Panda.
        """
        self.task = task
        try:
            self.model = mujoco.MjModel.from_xml_path(str(task.model_path))
        except ValueError as error:
            raise WorldError(f"cannot load the world of task {task.name!r}: {error}") from error
        self.data = mujoco.MjData(self.model)
        joints = [self.model.joint(name) for name in ARM_JOINTS]
        first_q, first_v = int(joints[0].qposadr[0]), int(joints[0].dofadr[0])
        if [int(joint.dofadr[0]) for joint in joints] != list(range(first_v, first_v + 7)):
            raise WorldError(f"the arm's joints of {task.model_path.name} must follow one another")
        self._q = slice(first_q, first_q + 7)
        self._v = slice(first_v, first_v + 7)
        self.q_rad = self.data.qpos[self._q]
        """(7,) live view of the joint angles."""
        self.dq_rad_s = self.data.qvel[self._v]
        """(7,) live view of the joint velocities."""
        self.gravity_nm = self.data.qfrc_gravcomp[self._v]
        """(7,) live view of the torques that hold the arm against gravity."""
        self.tau_ext_nm = np.zeros(7)
        """(7,) low-pass filtered torques that the arm exerts on what it touches."""
        self._motors = self.data.ctrl[self._v]
        self._ext_gain = 1.0 - math.exp(-2.0 * math.pi * _EXTERNAL_TORQUE_CUTOFF_HZ * self.model.opt.timestep)
        self._base_id = self.model.body(_BASE).id
        self._ee_id = self.model.site(_EE_SITE).id
        self._steps = 0
        self._step_ns = round(self.model.opt.timestep * 1e9)
        self.seed = seed
        self.episode = 0
        self.q_rad[:] = task.home_q_rad
        self.fingers = Fingers(self.model, self.data)
        self.fingers.place(task.start_width_m)
        self.reset_objects(seed)

    @property
    def time_ns(self) -> int:
        """Simulated time since this world was made; a reset does not turn it back."""
        return int(self._steps * self._step_ns)

    def step(self, tau_nm: NDArray[np.float64]) -> None:
        """Advance one time step with these joint torques, (7,), without gravity."""
        self._motors[:] = tau_nm
        self.fingers.advance()
        mujoco.mj_step2(self.model, self.data)
        self._estimate_external_torque()
        mujoco.mj_step1(self.model, self.data)
        self._steps += 1

    def reset_objects(self, seed: int) -> None:
        """Start an episode: the task's objects go to a start drawn with `seed`, the robot stays where it is.

        Raises:
            WorldError: the seed is negative.
        """
        if seed < 0:
            raise WorldError(f"a seed must not be negative, got {seed}")
        for joint_name, pose in self.task.sample_start(np.random.default_rng(seed)).items():
            joint = self.model.joint(joint_name)
            self.data.qpos[joint.qposadr[0] : joint.qposadr[0] + 7] = pose
            self.data.qvel[joint.dofadr[0] : joint.dofadr[0] + 6] = 0.0
        self.data.qacc_warmstart[:] = 0.0
        mujoco.mj_step1(self.model, self.data)
        self.tau_ext_nm[:] = 0.0
        self.seed = seed
        self.episode += 1

    def place_arm(self, q_rad: NDArray[np.float64], width_m: float) -> None:
        """Put the arm and the fingers somewhere at once, at rest; no robot can do that."""
        self.q_rad[:] = q_rad
        self.dq_rad_s[:] = 0.0
        self.fingers.place(width_m)
        mujoco.mj_step1(self.model, self.data)

    def set_positions(self, qpos: NDArray[np.float64]) -> None:
        """Take over the positions of a snapshot, at rest.

        Raises:
            WorldError: the snapshot is of another world.
        """
        if qpos.shape != self.data.qpos.shape:
            raise WorldError(f"a snapshot of {self.task.name!r} has {self.model.nq} positions, got {qpos.shape}")
        self.data.qpos[:] = qpos
        self.data.qvel[:] = 0.0
        self.fingers.hold()
        mujoco.mj_step1(self.model, self.data)

    def is_success(self) -> bool:
        """The task's success predicate, now."""
        return self.task.is_success(self.data)

    def snapshot(self) -> Snapshot:
        """What a renderer needs to draw this instant."""
        return Snapshot(stamp_ns=self.time_ns, qpos=self.data.qpos.copy())

    def ee_pose(self) -> NDArray[np.float64]:
        """(4, 4) pose of the hand's TCP in the base frame, O_T_EE by Franka's definition."""
        data = self.data
        base = data.xmat[self._base_id].reshape(3, 3)
        pose = np.eye(4)
        pose[:3, :3] = base.T @ data.site_xmat[self._ee_id].reshape(3, 3)
        pose[:3, 3] = base.T @ (data.site_xpos[self._ee_id] - data.xpos[self._base_id])
        return pose

    def _estimate_external_torque(self) -> None:
        """Generalised contact forces on the arm, as the robot's momentum observer would see them.

        Franka's sign: positive is what the robot exerts on its surroundings. Forces and Jacobian belong together only
        until the next mj_step1.
        """
        data = self.data
        rows = data.ne + data.nf + data.nl
        contact = data.efc_force[rows : data.nefc]
        if contact.size:
            jacobian = data.efc_J.reshape(data.nefc, -1)[rows:, self._v]
            self.tau_ext_nm += self._ext_gain * (-(contact @ jacobian) - self.tau_ext_nm)
        else:
            self.tau_ext_nm *= 1.0 - self._ext_gain
