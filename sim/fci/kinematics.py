"""Forward kinematics of the arm at any joint angles, apart from where the world's arm is."""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray

from d2ppo_core.runtime.kinematics import FLANGE_M
from sim.world import ARM_JOINTS, World
from sim.world_arm import WorldArm

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
        self._rotation, self._position = self._data.site_xmat[site].reshape(3, 3), self._data.site_xpos[site]
        mujoco.mj_kinematics(model, self._data)
        base = model.body("robot0_base").id
        self._base_rotation = self._data.xmat[base].reshape(3, 3).copy()
        self._base_position = self._data.xpos[base].copy()
        self._point = np.zeros(3)
        self._jacobian_world = np.zeros((6, model.nv))
        self._linear, self._angular = self._jacobian_world[:3], self._jacobian_world[3:]
        self.ne_T_ee = _IDENTITY
        """(4, 4) what the client mounted beyond the nominal end effector."""

    def pose(self, q_rad: NDArray[np.float64]) -> NDArray[np.float64]:
        """(4, 4) O_T_EE at these joint angles."""
        self._q[:] = q_rad
        mujoco.mj_kinematics(self._model, self._data)
        turn, pose = self._base_rotation.T, _IDENTITY.copy()
        np.matmul(turn, self._rotation, out=pose[:3, :3])
        np.matmul(turn, self._position - self._base_position, out=pose[:3, 3])
        return pose if self.ne_T_ee is _IDENTITY else pose @ self.ne_T_ee

    def jacobian(self, pose: NDArray[np.float64]) -> NDArray[np.float64]:
        """(6, 7) of the pose returned last: linear rows first, base frame."""
        mujoco.mj_comPos(self._model, self._data)
        self._point[:] = self._base_position + self._base_rotation @ pose[:3, 3]
        mujoco.mj_jac(self._model, self._data, self._linear, self._angular, self._point, self._hand)
        jacobian = self._jacobian_world[:, self._v].reshape(2, 3, 7)
        return np.asarray(np.matmul(self._base_rotation.T, jacobian).reshape(6, 7), np.float64)


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
