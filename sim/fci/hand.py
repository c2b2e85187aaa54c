"""The Franka Hand as the robot is configured for it: frames by Franka's definition, masses by the world's own model."""

from __future__ import annotations

import math
from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from d2ppo_core.runtime.safety.kinematics import FLANGE_M

_C = math.cos(math.pi / 4)
F_T_EE = np.array([[_C, _C, 0.0, 0.0], [-_C, _C, 0.0, 0.0], [0.0, 0.0, 1.0, 0.1034], [0.0, 0.0, 0.0, 1.0]])
"""Flange to the hand's TCP: 45 degrees back about z, 103.4 mm ahead."""
_HAND, _LINK7 = "robot0_right_hand", "robot0_link7"


@dataclass(frozen=True, kw_only=True)
class Load:
    """A rigid body fixed to the flange."""

    mass_kg: float
    com_m: NDArray[np.float64]
    """(3,) in the flange frame."""
    inertia_kg_m2: NDArray[np.float64]
    """(3, 3) about the centre of mass, axes of the flange frame."""


def hand_load(model: mujoco.MjModel) -> Load:
    """Mass of hand and fingers (half open) as seen from the flange."""
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    link7 = model.body(_LINK7).id
    rotation = data.xmat[link7].reshape(3, 3)
    flange = data.xpos[link7] + FLANGE_M * rotation[:, 2]
    bodies = [b for b in _subtree(model, model.body(_HAND).id) if model.body_mass[b] > 0.0]
    masses = model.body_mass[bodies]
    coms = (data.xipos[bodies] - flange) @ rotation
    com = masses @ coms / masses.sum()
    inertia = np.zeros((3, 3))
    for body, mass, point in zip(bodies, masses, coms, strict=True):
        axes = rotation.T @ data.ximat[body].reshape(3, 3)
        arm = point - com
        inertia += axes @ np.diag(model.body_inertia[body]) @ axes.T
        inertia += mass * (arm @ arm * np.eye(3) - np.outer(arm, arm))
    return Load(mass_kg=float(masses.sum()), com_m=com, inertia_kg_m2=inertia)


def inertia_tensor(model: mujoco.MjModel, body: int) -> NDArray[np.float64]:
    """(3, 3) of a body about its centre of mass, axes of the body's frame."""
    rotation = np.empty(9)
    mujoco.mju_quat2Mat(rotation, model.body_iquat[body])
    axes = rotation.reshape(3, 3)
    tensor: NDArray[np.float64] = axes @ np.diag(model.body_inertia[body]) @ axes.T
    return tensor


def _subtree(model: mujoco.MjModel, root: int) -> list[int]:
    bodies = [root]
    for body in range(root + 1, model.nbody):
        if model.body_parentid[body] in bodies:
            bodies.append(body)
    return bodies
