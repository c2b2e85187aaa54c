"""Forward kinematics and Jacobian of a Panda or FR3 (their links are the same), in plain numpy, for every cycle."""

import math
from dataclasses import dataclass

import numpy as np

from d2ppo_core.geometry import Array, step_between

# Craig's convention: a turn by alpha and a shift by a about the x axis before, a turn by q and a shift by d about z.
# Each alpha is a quarter turn, so that its rotation only swaps columns: Y is where the new y axis comes from.
_A_M = (0.0, 0.0, 0.0, 0.0825, -0.0825, 0.0, 0.088)
_D_M = (0.333, 0.0, 0.316, 0.0, 0.384, 0.0, 0.0)
_QUARTERS = (0, -1, 1, 1, -1, 1, 1)
FLANGE_M = 0.107
"""From the seventh link's frame to the flange, along z."""
ELBOW_STRAIGHT_RAD = -0.467002423653011
"""Of the fourth joint: shoulder, elbow and wrist lie on one line, the arm reaches no further and turns over."""
_DAMPING = 1e-10
_COLUMN = np.arange(7)


@dataclass(frozen=True)
class ArmPosture:
    """Where the links are at some joint angles, in the base frame.

    Attributes:
        axes: Axes of the links' frames, (7, 3, 3), columns x y z; joint i turns about the z axis of frame i.
        origins_m: Origins of the same frames, (7, 3).
        pose: (4, 4) of the end effector.
    """

    axes: Array
    origins_m: Array
    pose: Array

    def jacobian(self) -> Array:
        """(6, 7) of the end effector: linear rows first, base frame."""
        ex, ey, ez = self.pose[:3, 3].tolist()
        columns = []
        for (ox, oy, oz), (zx, zy, zz) in zip(self.origins_m.tolist(), self.axes[:, :, 2].tolist(), strict=True):
            x, y, z = ex - ox, ey - oy, ez - oz
            columns += [zy * z - zz * y, zz * x - zx * z, zx * y - zy * x, zx, zy, zz]
        return np.array(columns).reshape(7, 6).T

    def point_jacobians(self, points_m: Array, links: Array) -> Array:
        """(N, 3, 7) of points (N, 3) in the base frame, fixed to links counted from 1, (N,)."""
        columns = crossed(self.axes[None, :, :, 2], points_m[:, None, :] - self.origins_m[None])
        return np.asarray((columns * (links[:, None] > _COLUMN)[:, :, None]).transpose(0, 2, 1))


def posture(q_rad: Array, T_flange_ee: Array) -> ArmPosture:
    """Forward kinematics at joint angles (7,) with a tool (4, 4) on the flange; about 30 microseconds."""
    frames: list[float] = []
    origins: list[float] = []
    # plain floats: numpy costs a microsecond per operation on three numbers, whatever the operation
    x, y, z, p = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (0.0, 0.0, 0.0)
    for i, q in enumerate(q_rad.tolist()):
        a, d, quarter = _A_M[i], _D_M[i], _QUARTERS[i]
        p = (p[0] + a * x[0], p[1] + a * x[1], p[2] + a * x[2])
        if quarter > 0:
            y, z = z, (-y[0], -y[1], -y[2])
        elif quarter < 0:
            y, z = (-z[0], -z[1], -z[2]), y
        p = (p[0] + d * z[0], p[1] + d * z[1], p[2] + d * z[2])
        c, s = math.cos(q), math.sin(q)
        x, y = (
            (c * x[0] + s * y[0], c * x[1] + s * y[1], c * x[2] + s * y[2]),
            (c * y[0] - s * x[0], c * y[1] - s * x[1], c * y[2] - s * x[2]),
        )
        frames += [*x, *y, *z]
        origins += p
    axes, origins_m = np.array(frames).reshape(7, 3, 3).transpose(0, 2, 1), np.array(origins).reshape(7, 3)
    pose = np.eye(4)
    pose[:3, :3] = axes[6] @ T_flange_ee[:3, :3]
    pose[:3, 3] = origins_m[6] + axes[6] @ T_flange_ee[:3, 3] + FLANGE_M * axes[6, :, 2]
    return ArmPosture(axes, origins_m, pose)


def pseudo_inverse(jacobian: Array) -> Array:
    """(7, 6): the smallest joint step that makes a step of the hand; huge, but finite, where the arm is singular."""
    return np.asarray(jacobian.T @ np.linalg.inv(jacobian @ jacobian.T + _DAMPING * np.eye(6)))


def solve_ik(pose: Array, q_rad: Array, T_flange_ee: Array, steps: int = 20) -> Array:
    """Joint angles (7,) nearest to ``q_rad`` that bring the end effector to a pose close by, by Newton's method.

    The result is the best that ``steps`` steps find; compare ``posture`` of it with the pose where that matters.
    """
    q = q_rad.copy()
    for _ in range(steps):
        at = posture(q, T_flange_ee)
        step = step_between(at.pose, pose)
        if np.abs(step).max() < 1e-10:
            break
        q += pseudo_inverse(at.jacobian()) @ step
    return q


def crossed(a: Array, b: Array) -> Array:
    """Cross product over the last axis; several times as fast as ``np.cross`` on few vectors."""
    return np.asarray(a[..., (1, 2, 0)] * b[..., (2, 0, 1)] - a[..., (2, 0, 1)] * b[..., (1, 2, 0)])
