"""One of a world's arms, as the robot's own controller sees it."""

from __future__ import annotations

import math
from typing import Protocol

import mujoco
import numpy as np
from numpy.typing import NDArray

from d2ppo_core.errors import WorldError
from sim.tasks.base import Task
from sim.world.bare_arm import bare_model
from sim.world.fingers import Fingers
from sim.world.site_pose import SitePose

Vector = NDArray[np.float64]

_EXTERNAL_TORQUE_CUTOFF_HZ = 30.0
_FIRST_EE_SITE = "O_T_EE"


class Surroundings(Protocol):
    """What an arm needs of the world that it is in."""

    task: Task
    robot: str
    model: mujoco.MjModel
    data: mujoco.MjData

    @property
    def time_ns(self) -> int:
        """Simulated time."""

    def arm_is_ready(self) -> None:
        """Take note that one more arm has its torques."""

    def settle(self) -> None:
        """Bring contacts and inertia up to date."""

    def update(self) -> None:
        """Make true again what follows from positions and velocities after somebody changed them."""


class WorldArm:
    """Joints, hand and senses of one arm.

    `model` and `data` describe the arm alone, with the names of a first arm, whatever else is in the world: those of a
    world with a single arm are the world's own.
    """

    def __init__(self, world: Surroundings, index: int) -> None:
        """Find arm number `index` of the world.

        Raises:
            WorldError: the world has no such arm.
        """
        self.name, self.robot = world.task.arms[index], world.robot
        self.task = world.task
        self._world = world
        model, data, prefix = world.model, world.data, f"robot{index}_"
        try:
            joints = [model.joint(f"{prefix}joint{i}") for i in range(1, 8)]
            base = model.body(f"{prefix}base").id
            site = model.site(f"{prefix if index else ''}{_FIRST_EE_SITE}").id
            first_motor = model.actuator(f"{prefix}motor1").id
        except KeyError as error:
            name = world.task.model_path.name
            raise WorldError(f"{name} has no arm number {index}: {str(error).splitlines()[0]}") from error
        first_q, first_v = int(joints[0].qposadr[0]), int(joints[0].dofadr[0])
        if [int(joint.dofadr[0]) for joint in joints] != list(range(first_v, first_v + 7)):
            raise WorldError(f"the arm's joints of {world.task.model_path.name} must follow one another")
        self.dofs = slice(first_v, first_v + 7)
        """Where the arm is among the world's degrees of freedom."""
        self.q_rad = data.qpos[first_q : first_q + 7]
        """(7,) live view of the joint angles."""
        self.dq_rad_s = data.qvel[self.dofs]
        """(7,) live view of the joint velocities."""
        self.gravity_nm = data.qfrc_gravcomp[self.dofs]
        """(7,) live view of the torques that hold the arm against gravity."""
        self.motors_nm = data.ctrl[first_motor : first_motor + 7]
        """(7,) live view of the commanded torques, without gravity."""
        self.tau_ext_nm = np.zeros(7)
        """(7,) low-pass filtered torques that the arm exerts on what it touches."""
        self.fingers = Fingers(model, data, index)
        self._ee_pose = SitePose(model, data, site, base)
        self._ext_gain = 1.0 - math.exp(-2.0 * math.pi * _EXTERNAL_TORQUE_CUTOFF_HZ * model.opt.timestep)
        self.model, self.data = model, data
        self._q_all, self._v_all = data.qpos[first_q : first_q + 9], data.qvel[first_v : first_v + 9]
        if len(world.task.arms) > 1:
            self.model = bare_model(world.task.model_path, index, world.robot)
            self.data = mujoco.MjData(self.model)

    @property
    def time_ns(self) -> int:
        """Simulated time of the world."""
        return self._world.time_ns

    def step(self, tau_nm: Vector) -> None:
        """Take these torques (7,) for the next time step; the world takes it when all its arms have theirs."""
        self.advance(tau_nm)
        self.settle()

    def advance(self, tau_nm: Vector) -> None:
        """The same in two halves, as the world has them."""
        self.motors_nm[:] = tau_nm
        self._world.arm_is_ready()

    def settle(self) -> None:
        """The second half; once is enough for all arms of the world."""
        self._world.settle()

    def place_arm(self, q_rad: Vector, width_m: float) -> None:
        """Put the arm and the fingers somewhere at once, at rest; no robot can do that."""
        self.q_rad[:] = q_rad
        self.dq_rad_s[:] = 0.0
        self.fingers.place(width_m)
        self._world.update()

    def ee_pose(self) -> Vector:
        """(4, 4) pose of the hand's TCP in the base frame, O_T_EE by Franka's definition."""
        return self._ee_pose.matrix()

    def feel(self, external_nm: Vector | None) -> None:
        """Low-pass the torques (7,) of this time step's contacts; None means that nothing touches anything."""
        if external_nm is None:
            self.tau_ext_nm *= 1.0 - self._ext_gain
        else:
            self.tau_ext_nm += self._ext_gain * (external_nm - self.tau_ext_nm)

    def refresh(self) -> None:
        """Bring what the arm knows of itself up to date; the world calls it after every change."""
        if self.data is self._world.data:
            return
        self.data.qpos[:], self.data.qvel[:] = self._q_all, self._v_all
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_comPos(self.model, self.data)
        mujoco.mj_crb(self.model, self.data)
