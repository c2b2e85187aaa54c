"""An ideal arm without physics: it is where its set-point is. Loads in milliseconds, steps in microseconds."""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray

from sim.tasks import task_named
from sim.world.bare_arm import bare_arm_model
from sim.world.fingers import MAX_FORCE_N, MAX_SPEED_M_S, MAX_WIDTH_M
from sim.world.site_pose import SitePose
from sim.world.world import Snapshot

Vector = NDArray[np.float64]

DT_S, STEP_NS = 1e-3, 1_000_000
_BASE, _EE_SITE = "robot0_base", "O_T_EE"
INERTIA_KG_M2 = np.array([2.0, 2.0, 1.0, 1.0, 0.3, 0.3, 0.2])
DAMPING_NMS_RAD = 1.0
"""Under torque control each joint is a flywheel of its own."""


class KinematicArm:
    """Stands in for sim.world.world.World behind the servers: same attributes, no objects, no contacts, no cameras."""

    def __init__(self, task: str = "lift", robot: str = "panda") -> None:
        """Put the arm where the task starts."""
        self.task, self.robot = task_named(task), robot
        self.model = bare_arm_model(task, robot=robot)
        self.data = mujoco.MjData(self.model)
        self.q_rad, self.dq_rad_s = self.data.qpos[:7], self.data.qvel[:7]
        self.gravity_nm = self.data.qfrc_gravcomp[:7]
        self.tau_ext_nm = np.zeros(7)
        self.fingers = IdealFingers(self.task.start_width_m)
        self.seed, self.episode = 0, 1
        self._ee_pose = SitePose(self.model, self.data, self.model.site(_EE_SITE).id, self.model.body(_BASE).id)
        self._followed, self._steps = False, 0
        self.q_rad[:] = self.task.home_q_rad
        self._refresh()

    @property
    def time_ns(self) -> int:
        """Simulated time since this arm was made."""
        return self._steps * STEP_NS

    def follow(self, q_rad: Vector, dq_rad_s: Vector) -> None:
        """Be there after the next step, whatever its torques."""
        self.q_rad[:], self.dq_rad_s[:] = q_rad, dq_rad_s
        self._followed = True

    def step(self, tau_nm: Vector) -> None:
        """Advance a millisecond."""
        if not self._followed:
            self.dq_rad_s += DT_S * (tau_nm - DAMPING_NMS_RAD * self.dq_rad_s) / INERTIA_KG_M2
            self.q_rad += DT_S * self.dq_rad_s
        self._followed = False
        self.fingers.advance()
        self._refresh()
        self._steps += 1

    def advance(self, tau_nm: Vector) -> None:
        """The same; there is no second half."""
        self.step(tau_nm)

    def settle(self) -> None:
        """Nothing is left to do."""

    def place_arm(self, q_rad: Vector, width_m: float) -> None:
        """Put arm and fingers somewhere at once, at rest."""
        self.q_rad[:], self.dq_rad_s[:] = q_rad, 0.0
        self.fingers.place(width_m)
        self._refresh()

    def ee_pose(self) -> Vector:
        """(4, 4) O_T_EE."""
        return self._ee_pose.matrix()

    def snapshot(self) -> Snapshot:
        """Positions of arm and fingers; there is nothing else to draw."""
        return Snapshot(stamp_ns=self.time_ns, qpos=self.data.qpos.copy())

    def _refresh(self) -> None:
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_comPos(self.model, self.data)
        mujoco.mj_passive(self.model, self.data)


class IdealFingers:
    """Fingers that travel at the commanded speed and close on nothing; the interface of sim.world.fingers.Fingers."""

    def __init__(self, width_m: float) -> None:
        """Stand still, `width_m` apart."""
        self.blocked, self.speed_share = False, 1.0
        self.place(width_m)

    @property
    def pressing(self) -> bool:
        """Whether the motion is over, or something holds the fingers."""
        return self.width_m == self._target_m or self.blocked

    def place(self, width_m: float) -> None:
        """Be at a width at once."""
        self.width_m, self.speed_m_s = width_m, 0.0
        self._target_m, self._step_m = width_m, 0.0

    def hold(self) -> None:
        """Stop."""
        self.place(self.width_m)

    def command(self, width_m: float, speed_m_s: float, force_n: float = MAX_FORCE_N) -> None:
        """Head for a width, clipped to the hand's range."""
        self._target_m = min(max(width_m, 0.0), MAX_WIDTH_M)
        self._step_m = min(max(speed_m_s, 1e-3), MAX_SPEED_M_S) * DT_S

    def advance(self) -> None:
        """Move by a millisecond."""
        step = 0.0 if self.blocked else self.speed_share * self._step_m
        gap = self._target_m - self.width_m
        move = min(max(gap, -step), step)
        self.width_m = self._target_m if move == gap else self.width_m + move
        self.speed_m_s = move / DT_S
