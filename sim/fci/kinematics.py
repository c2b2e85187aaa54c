"""Forward kinematics of the arm at any joint angles, apart from where the world's arm is."""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray

from d2ppo_core.runtime.safety.kinematics import FLANGE_M
from sim.world.arm import WorldArm
from sim.world.site_pose import SitePose
from sim.world.world import ARM_JOINTS, World

_IDENTITY = np.eye(4)


class ArmKinematics:
    """Pose and Jacobian of the end effector in the base frame."""

    def __init__(self, model: mujoco.MjModel) -> None:
        """Make a scratch copy of the state; the world's own is not touched."""
        self._model = model
        self._data = mujoco.MjData(model)
        joints = [model.joint(name) for name in ARM_JOINTS]
        first_q, first_v = int(joints[0].qposadr[0]), int(joints[0].dofadr[0])
        self._q = self._data.qpos[first_q : first_q + 7]
        self._v = slice(first_v, first_v + 7)
        site = model.site("O_T_EE").id
        self._hand = int(model.site_bodyid[site])
        self._nominal = SitePose(model, self._data, site, model.body("robot0_base").id)
        self._base_rotation, self._base_position = self._nominal.base[:3, :3], self._nominal.base[:3, 3]
        self._turn = np.kron(np.eye(2), self._base_rotation.T)
        self._point = np.zeros(3)
        self._jacobian_world = np.zeros((6, model.nv))
        self._linear, self._angular = self._jacobian_world[:3], self._jacobian_world[3:]
        self.ne_T_ee = _IDENTITY
        """(4, 4) what the client mounted beyond the nominal end effector."""

    def pose(self, q_rad: NDArray[np.float64]) -> NDArray[np.float64]:
        """(4, 4) O_T_EE at these joint angles."""
        self._q[:] = q_rad
        mujoco.mj_kinematics(self._model, self._data)
        return self.with_tool(self._nominal.matrix())

    def with_tool(self, pose: NDArray[np.float64]) -> NDArray[np.float64]:
        """(4, 4) of the end effector, of the nominal one's."""
        return pose if self.ne_T_ee is _IDENTITY else pose.dot(self.ne_T_ee)

    def jacobian(self, pose: NDArray[np.float64]) -> NDArray[np.float64]:
        """(6, 7) of the pose returned last: linear rows first, base frame."""
        return np.asarray(self._turn.dot(self._in_the_world(pose)), np.float64)

    def twist(self, pose: NDArray[np.float64], dq_rad_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """(6,) of the pose returned last at these joint velocities (7,), linear part first, base frame."""
        return np.asarray(self._turn.dot(self._in_the_world(pose).dot(dq_rad_s)), np.float64)

    def _in_the_world(self, pose: NDArray[np.float64]) -> NDArray[np.float64]:
        mujoco.mj_comPos(self._model, self._data)
        self._point[:] = self._base_position + self._base_rotation.dot(pose[:3, 3])
        mujoco.mj_jac(self._model, self._data, self._linear, self._angular, self._point, self._hand)
        return self._jacobian_world[:, self._v]


def load_torque(world: World | WorldArm, mass_kg: float, com_m: NDArray[np.float64]) -> NDArray[np.float64]:
    """(7,) Nm that hold a load against gravity, its centre of mass (3,) given in the flange frame."""
    model, data = world.model, world.data
    link7 = model.body("robot0_link7").id
    point = data.xpos[link7] + data.xmat[link7].reshape(3, 3) @ (com_m + (0.0, 0.0, FLANGE_M))
    linear = np.zeros((3, model.nv))
    mujoco.mj_jac(model, data, linear, None, point, link7)
    first = int(model.joint(ARM_JOINTS[0]).dofadr[0])
    torque: NDArray[np.float64] = -mass_kg * model.opt.gravity @ linear[:, first : first + 7]
    return torque
