"""From corners in a picture to a pose with its covariance: OpenCV's closed forms, then Gauss-Newton on the pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from d2ppo_core.geometry import Array, moved_by, step_between
from d2ppo_core.runtime.perception.markers import Marker

CORNER_PX = 0.1
"""Standard deviation of a corner's coordinates, at least."""
_ROUNDS = 8
_ALIKE, _EXACT_PX = 2.0, 0.05
"""A square's second pose counts when it explains the corners no more than this times worse than the best, which four
corners may fit by luck."""


@dataclass(frozen=True)
class Estimate:
    """Where something is in the camera's frame.

    Attributes:
        pose: 4×4.
        covariance: (6, 6) of translation and rotation vector, along and about the camera's axes.
        rms_px: Of the corners, per coordinate.
    """

    pose: Array
    covariance: Array
    rms_px: float

    @property
    def std_m(self) -> float:
        """Of the position, all axes together."""
        return float(np.sqrt(np.trace(self.covariance[:3, :3])))

    @property
    def std_rad(self) -> float:
        """Of the rotation."""
        return float(np.sqrt(np.trace(self.covariance[3:, 3:])))


def pose_of_square(cv2: Any, marker: Marker, corners_px: Array, K: Array) -> Estimate | None:
    """Return the pose of the object that wears a marker, of its four corners (4, 2); None where there is none.

    Seen from afar, a square explains its picture by two poses. The better one is taken; where the other is nearly as
    good, the covariance covers both.
    """
    half = marker.size_m / 2.0
    flat = np.array([(-half, half, 0.0), (half, half, 0.0), (half, -half, 0.0), (-half, -half, 0.0)])
    _, turns, places, _ = cv2.solvePnPGeneric(flat, corners_px, K, None, flags=cv2.SOLVEPNP_IPPE_SQUARE)
    T_marker_object = np.linalg.inv(marker.T_object_marker)
    starts = [_transform(cv2, turn, place) @ T_marker_object for turn, place in zip(turns, places, strict=True)]
    estimates = [found for start in starts if (found := _fitted(start, marker.corners_m, corners_px, K)) is not None]
    if not estimates:
        return None
    best, *others = sorted(estimates, key=lambda estimate: estimate.rms_px)
    covariance = best.covariance
    for other in others:
        if other.rms_px < _ALIKE * max(best.rms_px, _EXACT_PX):
            apart = step_between(best.pose, other.pose)
            covariance = covariance + np.outer(apart, apart)
    return Estimate(best.pose, covariance, best.rms_px)


def pose_of_several(cv2: Any, points_m: Array, corners_px: Array, K: Array) -> Estimate | None:
    """Return the pose of an object of which points (n, 3) are seen at (n, 2); None where there is none."""
    _, turn, place = cv2.solvePnP(points_m, corners_px, K, None, flags=cv2.SOLVEPNP_SQPNP)
    return _fitted(_transform(cv2, turn, place), points_m, corners_px, K)


def _transform(cv2: Any, turn: npt.ArrayLike, place: npt.ArrayLike) -> Array:
    transform = np.eye(4)
    transform[:3, :3] = cv2.Rodrigues(np.reshape(turn, (3, 1)))[0]
    transform[:3, 3] = np.ravel(place)
    return transform


def _fitted(start: Array, points_m: Array, corners_px: Array, K: Array) -> Estimate | None:
    """Move a pose to where the corners' squared distances are least."""
    pose = start
    for _ in range(_ROUNDS):
        off, slopes = _residual(pose, points_m, corners_px, K)
        if off is None:
            return None
        step: Array = np.linalg.lstsq(slopes, off, rcond=None)[0].astype(np.float64)
        pose = moved_by(pose, step)
        if np.abs(step).max() < 1e-9:
            break
    off, slopes = _residual(pose, points_m, corners_px, K)
    if off is None or not np.isfinite(pose).all():
        return None
    rms_px = float(np.sqrt(off @ off / len(off)))
    covariance = max(CORNER_PX, rms_px) ** 2 * np.linalg.pinv(slopes.T @ slopes)
    return Estimate(pose, covariance.astype(np.float64), rms_px)


def _residual(pose: Array, points_m: Array, corners_px: Array, K: Array) -> tuple[Array | None, Array]:
    """How far (2n,) the corners are from where the pose puts them, and how that place moves (2n, 6) with the pose."""
    turned = points_m @ pose[:3, :3].T
    x, y, z = (turned + pose[:3, 3]).T
    if not z.min() > 1e-3:  # behind the camera, or NaN
        return None, np.zeros((0, 6))
    placed = np.stack([K[0, 0] * x / z + K[0, 2], K[1, 1] * y / z + K[1, 2]], axis=-1)
    zero = np.zeros_like(z)
    by_point = np.stack(
        [
            np.stack([K[0, 0] / z, zero, -K[0, 0] * x / z**2], axis=-1),
            np.stack([zero, K[1, 1] / z, -K[1, 1] * y / z**2], axis=-1),
        ],
        axis=1,
    )
    by_turn = np.cross(turned[:, None], by_point)  # d(ω × p)·row = ω·(p × row)
    return (corners_px - placed).ravel(), np.concatenate([by_point, by_turn], axis=-1).reshape(-1, 6)
