"""One simulated world with an arm or two in it, advanced a millisecond at a time."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from d2ppo_core.errors import WorldError
from sim.tasks.base import Task
from sim.world.arm import WorldArm
from sim.world.arm_model import load_model

ARM_JOINTS = tuple(f"robot0_joint{i}" for i in range(1, 8))
START_RAD = 0.1
"""An arm this near to the task's home can be put there unnoticed."""
STEADY_NM = 1e-9
"""Torques that change by no more than this are those of a controller that has come to rest."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """All that a renderer needs to know about an instant."""

    stamp_ns: int
    """Simulated time of the instant."""
    qpos: NDArray[np.float64]
    """(nq,) generalised positions."""


class World:
    """Physics of one task. Torques are commanded as in the Franka Control Interface: gravity is compensated already.

    After a `step` everything in `data` is up to date (mj_step1 has run). Whoever is in a hurry takes the same step in
    two halves: after `advance` joints, poses, gravity and external torques are those of the new instant, after `settle`
    contacts and inertia are, too. Whatever is said of "the arm" concerns the first one; `arms` has all of them.
    """

    def __init__(self, task: Task, seed: int = 0, robot: str = "panda") -> None:
        """Load the world with this robot's arms, ``panda`` or ``fr3``, and start an episode.

        Raises:
            WorldError: the model file is missing or not a world with the task's arms.
            ConfigError: there is no such robot.
        """
        self.task, self.robot = task, robot
        self.model = load_model(task.model_path, robot)
        self.data = mujoco.MjData(self.model)
        self.arms = tuple(WorldArm(self, index) for index in range(len(task.arms)))
        """In the order of the task's names."""
        first = self.arms[0]
        self.q_rad, self.dq_rad_s, self.gravity_nm = first.q_rad, first.dq_rad_s, first.gravity_nm
        self.tau_ext_nm, self.fingers = first.tau_ext_nm, first.fingers
        self._ready = 0
        self._settled = False
        self._steps = 0
        self.held = False
        """Whether the world stands at the start of an episode: time goes by, and nothing moves."""
        self.steady_steps = 0
        """While it is held: for how many steps the commanded torques have been steady."""
        self._held_motors_nm = np.zeros(7 * len(task.arms))
        self._step_ns = round(self.model.opt.timestep * 1e9)
        self.seed = seed
        self.episode = 0
        for arm in self.arms:
            arm.q_rad[:] = task.home_q_rad
            arm.fingers.place(task.start_width_m)
        self.reset_objects(seed)

    @property
    def time_ns(self) -> int:
        """Simulated time since this world was made; a reset does not turn it back."""
        return int(self._steps * self._step_ns)

    def step(self, tau_nm: NDArray[np.float64]) -> None:
        """Advance one time step with these joint torques, (7,) for each arm in a row, without gravity."""
        self.advance(tau_nm)
        self.settle()

    def advance(self, tau_nm: NDArray[np.float64]) -> None:
        """The first half of a step: all that the state of a robot tells is known then."""
        for index, arm in enumerate(self.arms):
            arm.motors_nm[:] = tau_nm[7 * index : 7 * index + 7]
        self._advance()

    def settle(self) -> None:
        """The second half: what the next step, control laws and success predicates need besides."""
        if not self._settled:
            mujoco.mj_step1(self.model, self.data)
            self._settled = True

    def arm_is_ready(self) -> None:
        """Take note that one more arm has its torques; the last one's turn advances the world."""
        self._ready += 1
        if self._ready == len(self.arms):
            self._advance()

    def _advance(self) -> None:
        self.settle()
        self._ready = 0
        if self.held:
            self._stand_still()
            return
        for arm in self.arms:
            arm.fingers.advance()
        mujoco.mj_step2(self.model, self.data)
        self._estimate_external_torques()
        self._settled = False
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_comPos(self.model, self.data)
        mujoco.mj_passive(self.model, self.data)  # gravity
        for arm in self.arms:
            arm.refresh()
        self._steps += 1

    def _stand_still(self) -> None:
        motors_nm = np.concatenate([arm.motors_nm for arm in self.arms])
        steady = np.abs(motors_nm - self._held_motors_nm).max() <= STEADY_NM
        self.steady_steps = self.steady_steps + 1 if steady else 0
        self._held_motors_nm = motors_nm
        self._steps += 1

    def update(self) -> None:
        """Make everything that follows from positions and velocities true again after somebody changed them."""
        mujoco.mj_step1(self.model, self.data)
        self._settled = True
        for arm in self.arms:
            arm.refresh()

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
        self.update()
        for arm in self.arms:
            arm.tau_ext_nm[:] = 0.0
        self.seed = seed
        self.episode += 1

    def hold_start(self, seed: int) -> None:
        """Start an episode and stand there until `release`: arms at the task's home, at rest, whatever their torques.

        What the clients read meanwhile is always the same, so that their controllers begin from the same, too, however
        long they take.

        Raises:
            WorldError: the seed is negative, or an arm is not near the task's home.
        """
        home_q_rad = np.asarray(self.task.home_q_rad)
        off_rad = max(float(np.abs(arm.q_rad - home_q_rad).max()) for arm in self.arms)
        if off_rad > START_RAD:
            raise WorldError(f"an arm is {off_rad:.2f} rad from where episodes begin; send it home first")
        self.reset_objects(seed)
        for arm in self.arms:
            arm.place_arm(home_q_rad, self.task.start_width_m)
        self.held, self.steady_steps = True, 0

    def release(self) -> None:
        """Let things move, from the very state that has been shown."""
        self.data.qvel[:] = 0.0
        self.data.qacc_warmstart[:] = 0.0
        self.update()
        for arm in self.arms:
            arm.tau_ext_nm[:] = 0.0
        self.held = False

    def place_arm(self, q_rad: NDArray[np.float64], width_m: float) -> None:
        """Put the arm and the fingers somewhere at once, at rest; no robot can do that."""
        self.arms[0].place_arm(q_rad, width_m)

    def set_positions(self, qpos: NDArray[np.float64]) -> None:
        """Take over the positions of a snapshot, at rest.

        Raises:
            WorldError: the snapshot is of another world.
        """
        if qpos.shape != self.data.qpos.shape:
            raise WorldError(f"a snapshot of {self.task.name!r} has {self.model.nq} positions, got {qpos.shape}")
        self.data.qpos[:] = qpos
        self.data.qvel[:] = 0.0
        for arm in self.arms:
            arm.fingers.hold()
        self.update()

    def is_success(self) -> bool:
        """The task's success predicate, now."""
        self.settle()
        return self.task.is_success(self.data)

    def touching(self) -> frozenset[tuple[str, str]]:
        """Objects of the task that touch each other now, as far as it observes that."""
        self.settle()
        return self.task.touching(self.data)

    def snapshot(self) -> Snapshot:
        """What a renderer needs to draw this instant."""
        return Snapshot(stamp_ns=self.time_ns, qpos=self.data.qpos.copy())

    def ee_pose(self) -> NDArray[np.float64]:
        """(4, 4) pose of the hand's TCP in the base frame, O_T_EE by Franka's definition."""
        return self.arms[0].ee_pose()

    def _estimate_external_torques(self) -> None:
        """Generalised contact forces on the arms, as the robots' momentum observers would see them.

        Franka's sign: positive is what a robot exerts on its surroundings. Forces and Jacobian belong together only
        until the next mj_step1.
        """
        data = self.data
        rows = data.ne + data.nf + data.nl
        contact = data.efc_force[rows : data.nefc]
        push = -contact.dot(data.efc_J.reshape(data.nefc, -1)[rows:]) if contact.size else None
        for arm in self.arms:
            arm.feel(None if push is None else push[arm.dofs])
