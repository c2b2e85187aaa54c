"""The arithmetic of robosuite's OSC_POSE, operation by operation, so that results agree to the last bit.

Products and inverses go through the same library calls on the same memory layouts as in robosuite; with numba, which
robosuite requires, they are compiled as there. A stack of contacts amplifies a difference in the sixteenth digit to
millimetres within seconds, so only equal bits prove that everything else is equal too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

try:
    from numba import njit
except ImportError:  # plain NumPy then: equal but for rounding

    def njit(**_: Any) -> Callable[[_Function], _Function]:  # type: ignore[no-redef]
        """Leave a function as it is."""
        return lambda function: function


Array = NDArray[np.float64]
_Function = TypeVar("_Function", bound=Callable[..., Any])

POSTURE_KP = 10.0


@njit(cache=True)
def operational_space(inertia: Array, jacobian: Array, linear: Array, angular: Array) -> tuple[Array, Array, Array]:
    """Inertia felt by translation (3, 3) and rotation (3, 3) of the hand, and the null space projector (7, 7)."""
    inverse = np.linalg.inv(inertia)
    whole = np.dot(np.dot(jacobian, inverse), jacobian.transpose())
    of_linear = np.dot(np.dot(linear, inverse), linear.transpose())
    of_angular = np.dot(np.dot(angular, inverse), angular.transpose())
    lambda_whole = np.linalg.pinv(whole)
    lambda_linear = np.linalg.pinv(of_linear)
    lambda_angular = np.linalg.pinv(of_angular)
    back = np.dot(inverse, jacobian.transpose()).dot(lambda_whole)
    nullspace = np.eye(jacobian.shape[-1], jacobian.shape[-1]) - np.dot(back, jacobian)
    return lambda_linear, lambda_angular, nullspace


@njit(cache=True)
def posture_torques(inertia: Array, nullspace: Array, posture: Array, q: Array, dq: Array, kp: float) -> Array:
    """(7,) torques that hold the posture without moving the hand."""
    kd = np.sqrt(kp) * 2
    wanted = np.dot(inertia, (kp * (posture - q) - kd * dq))
    torques: Array = np.dot(nullspace.transpose(), wanted)
    return torques


@njit(cache=True)
def orientation_error(desired: Array, current: Array) -> Array:
    """(3,) half the sum of the cross products of the present and the desired axes."""
    error = (
        np.cross(current[0:3, 0], desired[0:3, 0])
        + np.cross(current[0:3, 1], desired[0:3, 1])
        + np.cross(current[0:3, 2], desired[0:3, 2])
    )
    return 0.5 * error


@njit(cache=True)
def matrix_of_quat(quat_wxyz: Array) -> Array:
    """(3, 3) rotation, through single precision."""
    q = quat_wxyz.astype(np.float32)
    n = np.dot(q, q)
    q *= math.sqrt(2.0 / n)
    p = np.outer(q, q)
    return np.array(
        [
            [1.0 - p[2, 2] - p[3, 3], p[1, 2] - p[3, 0], p[1, 3] + p[2, 0]],
            [p[1, 2] + p[3, 0], 1.0 - p[1, 1] - p[3, 3], p[2, 3] - p[1, 0]],
            [p[1, 3] - p[2, 0], p[2, 3] + p[1, 0], 1.0 - p[1, 1] - p[2, 2]],
        ]
    )


def quat_of_axis_angle(axis_angle: Array) -> Array:
    """(4,) quat_wxyz."""
    angle = np.linalg.norm(axis_angle)
    if math.isclose(angle, 0.0):
        return np.array([1.0, 0.0, 0.0, 0.0])
    axis = axis_angle / angle
    return np.concatenate([[np.cos(angle / 2.0)], axis * np.sin(angle / 2.0)])


def pose_of(position: Array, rotation: Array) -> Array:
    """(4, 4) homogeneous matrix."""
    pose = np.zeros((4, 4))
    pose[:3, :3], pose[:3, 3], pose[3, 3] = rotation, position, 1.0
    return pose


def inverse_pose(pose: Array) -> Array:
    """(4, 4) inverse of a rigid transform."""
    inverse = np.zeros((4, 4))
    inverse[:3, :3] = pose[:3, :3].T
    inverse[:3, 3] = -inverse[:3, :3].dot(pose[:3, 3])
    inverse[3, 3] = 1.0
    return inverse
