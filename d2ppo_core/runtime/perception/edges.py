"""Corners of a square marker to a few hundredths of a pixel: where the lines through its four sides meet.

A detector finds corners to half a pixel, and biased, for it takes the outermost dark pixels for the outline. Here each
side is crossed at many places: how much of a crossing is dark says where the side is, without a threshold, and noise
averages out along the side.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from d2ppo_core.geometry import Array

_CROSSINGS = np.linspace(0.12, 0.88, 25)
"""Where the sides are crossed, as a share of their length; at the corners two sides would be in sight at once."""
_STEPS = np.linspace(-1.0, 1.0, 21)
"""Of a crossing, as a share of its reach: from the dark inside to the bright outside."""
_REACH_CELLS, _MOST_PX, _LEAST_PX = 0.45, 3.0, 1.0
_ROUNDS = 2
_CONTRAST = 20.0
"""Least difference of bright and dark, of 255."""


def refined_corners(cv2: Any, grey: npt.NDArray[np.float32], corners_px: Array, cells: int) -> Array | None:
    """Return the corners again, better.

    Args:
        cv2: OpenCV, which is not imported before somebody needs it.
        grey: (H, W) picture.
        corners_px: (4, 2) corners as detected, clockwise; (0, 0) is the middle of the first pixel.
        cells: Cells along a side of the marker, its black border included; a white one around it is taken for granted.

    Returns:
        (4, 2), or None when the outline is no square that is dark inside and bright outside.
    """
    corners = corners_px.astype(np.float64)
    for _ in range(_ROUNDS):
        lines = _sides(cv2, grey, corners, cells)
        if lines is None:
            return None
        corners = np.array([np.cross(lines[i - 1], lines[i]) for i in range(4)])
        if np.abs(corners[:, 2]).min() < 1e-9:
            return None
        corners = corners[:, :2] / corners[:, 2:]
    moved_px = float(np.abs(corners - corners_px).max())
    return corners if moved_px < max(_MOST_PX, 0.1 * _length(corners_px).min()) else None


def _length(corners: Array) -> Array:
    return np.asarray(np.linalg.norm(np.roll(corners, -1, axis=0) - corners, axis=1))


def _sides(cv2: Any, grey: npt.NDArray[np.float32], corners: Array, cells: int) -> Array | None:
    """(4, 3) homogeneous lines; side i goes from corner i to the next."""
    ends, length = np.roll(corners, -1, axis=0), _length(corners)
    if length.min() < 2.0 * cells * _LEAST_PX:
        return None
    along = (ends - corners) / length[:, None]
    outward = np.stack([along[:, 1], -along[:, 0]], axis=-1)  # clockwise in a picture whose y points down
    reach_px = min(_MOST_PX, max(_LEAST_PX, _REACH_CELLS * float(length.min()) / cells))
    feet = corners[:, None] + _CROSSINGS[None, :, None] * (ends - corners)[:, None]
    places = feet[:, :, None] + (reach_px * _STEPS)[None, None, :, None] * outward[:, None, None]
    flat = places.reshape(4 * len(_CROSSINGS), len(_STEPS), 2).astype(np.float32)
    values = cv2.remap(grey, flat[..., 0], flat[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    profile = values.reshape(4, len(_CROSSINGS), len(_STEPS)).astype(np.float64)
    dark = np.median(profile[..., :3], axis=(1, 2))[:, None, None]
    bright = np.median(profile[..., -3:], axis=(1, 2))[:, None, None]
    if (bright - dark).min() < _CONTRAST:
        return None
    share = np.trapezoid((profile - dark) / (bright - dark), _STEPS, axis=-1)  # 0: all dark, 2: all bright
    edges = feet + (reach_px * (1.0 - share))[..., None] * outward[:, None]
    return np.array([_line_through(points) for points in edges])


def _line_through(points: Array) -> Array:
    """(3,) homogeneous line nearest to points (n, 2); those far beside it do not count."""
    kept = points
    for _ in range(2):
        middle = kept.mean(axis=0)
        normal = np.linalg.svd(kept - middle, full_matrices=False)[2][1]
        off = np.abs((points - middle) @ normal)
        kept = points[off <= max(0.1, 2.5 * float(np.median(off)))]
    return np.array([*normal, -float(normal @ middle)])
