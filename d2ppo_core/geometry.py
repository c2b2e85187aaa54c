"""Rigid transforms and rotation helpers; quaternions are ``xyzw`` (ROS order) unless a name says otherwise."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

Array = npt.NDArray[np.float64]

POINTING_DOWN_XYZW = (1.0, 0.0, 0.0, 0.0)
"""Orientation of a Panda hand that points straight down; the hemisphere reference of the policies."""


def canonical_quat_xyzw(quat_xyzw: npt.ArrayLike, reference: Sequence[float] = POINTING_DOWN_XYZW) -> Array:
    """Return the one of ±q that lies in the hemisphere of ``reference``.

    q and −q are the same rotation, but not the same network input: training and run time both call this.

    Args:
        quat_xyzw: Unit quaternions, shape (..., 4).
        reference: Unit quaternion that fixes the hemisphere.

    Returns:
        Array of the same shape.
    """
    quat = np.asarray(quat_xyzw, dtype=np.float64)
    flip = (quat @ np.asarray(reference, dtype=np.float64)) < 0.0
    return np.where(flip[..., None], -quat, quat)


def transform_from(position_m: npt.ArrayLike, rotation: Rotation) -> Array:
    """Build the 4×4 transform with this translation and rotation."""
    transform = np.eye(4)
    transform[:3, :3] = rotation.as_matrix()
    transform[:3, 3] = position_m
    return transform


def rotation_of(transform: Array) -> Rotation:
    """Return the rotation part of a 4×4 transform."""
    return Rotation.from_matrix(transform[:3, :3])


def inverse(transform: Array) -> Array:
    """Invert a rigid 4×4 transform."""
    result = np.eye(4)
    result[:3, :3] = transform[:3, :3].T
    result[:3, 3] = -transform[:3, :3].T @ transform[:3, 3]
    return result


def rotation_vector(rotation: Array) -> Array:
    """Return axis times angle, rad, shape (3,), of a 3×3 rotation matrix; a few microseconds."""
    r = rotation
    axis = 0.5 * np.array((r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]))
    sine, cosine = math.sqrt(axis @ axis), 0.5 * (float(r[0, 0] + r[1, 1] + r[2, 2]) - 1.0)
    if sine > 1e-9:
        return np.asarray(axis * (math.atan2(sine, cosine) / sine))
    if cosine > 0.0:
        return axis
    columns = r + np.eye(3)  # half a turn: each column of R + I is a multiple of the axis
    column = columns[:, int(np.argmax(np.diag(r)))]
    return np.asarray(column * (math.pi / math.sqrt(column @ column)))


def rotation_matrix(vector: Array) -> Array:
    """Return the 3×3 matrix of a rotation vector (axis times angle, rad); a few microseconds."""
    x, y, z = vector.tolist()
    angle = math.sqrt(x * x + y * y + z * z)
    if angle < 1e-6:
        sine, versine = 1.0 - angle * angle / 6.0, 0.5
    else:
        sine, versine = math.sin(angle) / angle, (1.0 - math.cos(angle)) / (angle * angle)
    cross = np.array(((0.0, -z, y), (z, 0.0, -x), (-y, x, 0.0)))
    return np.asarray(np.eye(3) + sine * cross + versine * (cross @ cross))


def moved_by(pose: Array, step: Array) -> Array:
    """Return a 4×4 pose moved by a step (6,): a translation and a rotation vector, both in the base frame."""
    moved = pose.copy()
    moved[:3, 3] += step[:3]
    moved[:3, :3] = rotation_matrix(step[3:]) @ pose[:3, :3]
    return moved


def step_between(start: Array, end: Array) -> Array:
    """Return the step (6,), a translation and a rotation vector in the base frame, that leads from pose to pose."""
    return np.concatenate((end[:3, 3] - start[:3, 3], rotation_vector(end[:3, :3] @ start[:3, :3].T)))


@dataclass(frozen=True)
class RigidState:
    """Pose (4×4) and twist (linear m/s, angular rad/s; both in the base frame) of a frame of the arm."""

    pose: Array
    twist: Array

    def of_frame(self, T_this_other: Array) -> "RigidState":
        """Return the state of another frame that is fixed to this one."""
        arm_m = self.pose[:3, :3] @ T_this_other[:3, 3]
        linear = self.twist[:3] + np.cross(self.twist[3:], arm_m)
        return RigidState(self.pose @ T_this_other, np.concatenate([linear, self.twist[3:]]))
