"""The URDF that the robot server hands out: made from the world's own model, so client and world agree."""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray

from d2ppo_core.runtime.safety.kinematics import FLANGE_M
from sim.fci.hand import inertia_tensor
from sim.fci.limits import Limits


def robot_urdf(model: mujoco.MjModel, limits: Limits) -> str:
    """Kinematics and inertials of the bare arm, link0 ... link8; the client adds the hand from the robot state."""
    parts = [f'<robot name="{limits.name}"><link name="link0"/>']
    for index in range(1, 8):
        body = model.body(f"robot0_link{index}").id
        parts.append(f'<link name="link{index}">{_inertial(model, body)}</link>')
        parts.append(_joint(model, body, index, limits))
    parts.append('<link name="link8"/><joint name="joint8" type="fixed"><parent link="link7"/>')
    parts.append(f'<child link="link8"/><origin xyz="0 0 {FLANGE_M}" rpy="0 0 0"/></joint></robot>')
    return "".join(parts)


def _joint(model: mujoco.MjModel, body: int, index: int, limits: Limits) -> str:
    i = index - 1
    return (
        f'<joint name="joint{index}" type="revolute">'
        f'<parent link="link{i}"/><child link="link{index}"/>'
        f'<origin xyz="{_numbers(model.body_pos[body])}" rpy="{_numbers(_rpy(model.body_quat[body]))}"/>'
        '<axis xyz="0 0 1"/>'
        f'<limit lower="{limits.q_min_rad[i]}" upper="{limits.q_max_rad[i]}" '
        f'velocity="{limits.dq_rad_s[i]}" effort="{limits.tau_nm[i]}"/>'
        f'<position_based_velocity_limits velocity_offset="{limits.velocity_offset_rad_s[i]}" '
        f'deceleration_limit="{limits.deceleration_rad_s2[i]}"/></joint>'
    )


def _inertial(model: mujoco.MjModel, body: int) -> str:
    inertia = inertia_tensor(model, body)
    entries = {"ixx": (0, 0), "ixy": (0, 1), "ixz": (0, 2), "iyy": (1, 1), "iyz": (1, 2), "izz": (2, 2)}
    tensor = " ".join(f'{name}="{inertia[at]:.9g}"' for name, at in entries.items())
    return (
        f'<inertial><origin xyz="{_numbers(model.body_ipos[body])}" rpy="0 0 0"/>'
        f'<mass value="{model.body_mass[body]:.9g}"/><inertia {tensor}/></inertial>'
    )


def _matrix(quat_wxyz: NDArray[np.float64]) -> NDArray[np.float64]:
    matrix = np.empty(9)
    mujoco.mju_quat2Mat(matrix, quat_wxyz)
    return matrix.reshape(3, 3)


def _rpy(quat_wxyz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Roll, pitch, yaw of a rotation away from gimbal lock, as URDF composes them."""
    r = _matrix(quat_wxyz)
    return np.array([np.arctan2(r[2, 1], r[2, 2]), -np.arcsin(r[2, 0]), np.arctan2(r[1, 0], r[0, 0])])


def _numbers(values: NDArray[np.float64]) -> str:
    return " ".join(f"{value:.9g}" for value in values)
