"""Whether a picture of the board is worth having: sharp, unlike those before, and where corners are still missing."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.board import Detection
from d2ppo_core.errors import CalibrationError
from d2ppo_core.geometry import Array

BLURRED_PX = 1.5
"""Standard deviation of an edge's slope from which a picture is blurred, in one of up to 1280 columns."""
REPEATED = 0.03
"""Of the picture's width: a view whose corners moved by less on average is a repetition."""
GRID = (4, 5)
"""Rows and columns of cells in which corners are counted."""
_DIRECTIONS = np.stack((np.cos(np.linspace(0, np.pi, 9)[:8]), np.sin(np.linspace(0, np.pi, 9)[:8])))


def edge_width_px(grey: NDArray[np.uint8], detection: Detection) -> float:
    """Return the standard deviation of the board's edges in their most blurred direction, px; 0.5 is perfectly sharp.

    At each corner edges cross, so that motion in any direction blurs one of them.
    """
    gaps = np.linalg.norm(detection.pixels[:, None] - detection.pixels[None], axis=2)
    np.fill_diagonal(gaps, np.inf)
    half = int(np.clip(0.4 * np.median(gaps.min(axis=1)), 3, 15))
    widths = []
    for column, row in np.rint(detection.pixels).astype(int):
        patch = grey[max(0, row - half) : row + half + 1, max(0, column - half) : column + half + 1].astype(np.float32)
        if min(patch.shape) < 5:
            continue
        down, right = np.gradient(patch)
        steepest = np.abs(np.stack((right, down), axis=-1) @ _DIRECTIONS).max(axis=(0, 1))
        low, high = np.percentile(patch, (5, 95))
        widths.append(float(0.707 * (high - low) / (np.sqrt(2 * np.pi) * max(1e-3, float(steepest.min())))))
    return float(np.median(widths)) if widths else np.inf


def refuse_blurred(grey: NDArray[np.uint8], detection: Detection, where: str) -> None:
    """Raise CalibrationError for a picture whose edges are too wide to say where a corner is."""
    width, limit = edge_width_px(grey, detection), BLURRED_PX * max(1.0, grey.shape[1] / 1280.0)
    if width > limit:
        raise CalibrationError(
            f"{where}: blurred, edges are {width:.1f} px wide, wanted {limit:.1f}: hold still, focus, or give it light"
        )


def repeated(detection: Detection, earlier: Sequence[Detection], width_px: int) -> int | None:
    """Return which earlier view shows the board at nearly the same place; None if none does."""
    for number, other in enumerate(earlier):
        common, mine, theirs = np.intersect1d(detection.ids, other.ids, return_indices=True)
        if len(common) < 4:
            continue
        off = np.linalg.norm(detection.pixels[mine] - other.pixels[theirs], axis=1)
        if off.mean() < REPEATED * width_px:
            return number
    return None


def corner_counts(detections: Sequence[Detection], width_px: int, height_px: int) -> NDArray[np.int64]:
    """Return how many corners were seen in each cell of the picture, (4, 5)."""
    pixels = np.concatenate([d.pixels for d in detections]) if detections else np.zeros((0, 2))
    bounds = [(-0.5, height_px - 0.5), (-0.5, width_px - 0.5)]
    return np.asarray(np.histogram2d(pixels[:, 1], pixels[:, 0], bins=GRID, range=bounds)[0], np.int64)


def coverage(counts: NDArray[np.int64]) -> float:
    """Return the share of cells with corners; half a cell for a single one."""
    return float(np.minimum(counts / 2.0, 1.0).mean())


def coverage_lines(counts: NDArray[np.int64]) -> list[str]:
    """Return the map as text, a row of cells a line."""
    return ["  ".join(f"{count:4d}" if count else "   ." for count in row) for row in counts.tolist()]


def drawn(grey: NDArray[np.uint8], pixels: Array, residuals_px: Array | None, scale: float) -> NDArray[np.uint8]:
    """Return a picture (H, W, 3) with its corners (N, 2), and arrows `scale` times as long as residuals (N, 2)."""
    picture = cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)
    for number, (x, y) in enumerate(pixels):
        centre = (int(round(x)), int(round(y)))
        cv2.circle(picture, centre, 3, (59, 110, 165), 1, cv2.LINE_AA)
        if residuals_px is not None:
            tip = np.rint((x, y) + scale * residuals_px[number]).astype(int)
            cv2.line(picture, centre, (int(tip[0]), int(tip[1])), (192, 57, 43), 2, cv2.LINE_AA)
    return np.asarray(picture, np.uint8)
