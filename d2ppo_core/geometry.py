"""Rigid transforms and rotation helpers; quaternions are ``xyzw`` (ROS order) unless a name says otherwise."""

from collections.abc import Sequence

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
