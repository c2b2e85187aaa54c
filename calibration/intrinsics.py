"""Intrinsics of a camera: OpenCV's solver, with as many terms of distortion as views that had no part speak for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.board import Detection
from calibration.optics import board_pose, project
from calibration.views import corner_counts, coverage
from d2ppo_core.calibrated import Intrinsics
from d2ppo_core.errors import CalibrationError
from d2ppo_core.geometry import Array

LEAST_VIEWS = 8
LEAST_COVERAGE = 0.5
MOST_SD = 0.005
"""Of the focal length: greatest standard deviation."""
LEAST_TILT_DEG = 10.0
"""RMS of the board's tilt; below, focal length and distance look alike, whatever deviations the solver names."""
_SIMPLE = cv2.CALIB_FIX_K3 | cv2.CALIB_ZERO_TANGENT_DIST
MODELS = {
    "no distortion": _SIMPLE | cv2.CALIB_FIX_K1 | cv2.CALIB_FIX_K2,
    "k1 k2": _SIMPLE,
    "k1 k2 p1 p2": cv2.CALIB_FIX_K3,
    "k1 k2 p1 p2 k3": 0,
}
"""Name and OpenCV's flags, the simplest first."""
SAME = 1.01
"""A simpler model is taken when it predicts views that had no part as well, up to this factor."""
_FOLDS = 5
_BAD = 4.0


@dataclass(frozen=True)
class Calibrated:
    """What was found.

    Attributes:
        intrinsics: The camera's.
        model: Key of `MODELS`.
        sd: (4,) standard deviations of fx fy cx cy, px.
        held_out_px: Model -> RMS of views that had no part.
        view_px: (N,) RMS of each view.
        used: (N,) views that had a part.
        counts: Corners by cell of the picture.
    """

    intrinsics: Intrinsics
    model: str
    sd: Array
    held_out_px: dict[str, float]
    view_px: Array
    used: NDArray[np.bool_]
    counts: NDArray[np.int64]


def calibrate(detections: Sequence[Detection], width_px: int, height_px: int, names: Sequence[str]) -> Calibrated:
    """Return the intrinsics that the views speak for.

    Raises:
        CalibrationError: there are too few views, they cover too little, or leave the focal length open.
    """
    if len(detections) < LEAST_VIEWS:
        raise CalibrationError(f"{len(detections)} usable views, wanted {LEAST_VIEWS} or better 20: take more pictures")
    counts = corner_counts(detections, width_px, height_px)
    if coverage(counts) < LEAST_COVERAGE:
        raise CalibrationError(
            f"corners were seen in {100 * coverage(counts):.0f} % of the picture, wanted {100 * LEAST_COVERAGE:.0f} %: "
            "bring the board to its borders and corners too"
        )
    size = (width_px, height_px)
    used = np.ones(len(detections), bool)
    first, _ = _solve(detections, size, MODELS["k1 k2 p1 p2"])
    view_px = np.array([_off_px(d, first, name) for d, name in zip(detections, names, strict=True)])
    used = view_px <= _BAD * np.median(view_px)
    some = [d for d, good in zip(detections, used, strict=True) if good]
    held_out = {name: _held_out(some, size, flags) for name, flags in MODELS.items()}
    model = next(name for name in MODELS if held_out[name] <= SAME * min(held_out.values()))
    found, sd = _solve(some, size, MODELS[model])
    if max(sd[0] / found.fx_px, sd[1] / found.fy_px) > MOST_SD:
        raise CalibrationError(
            f"the focal length is only known to {100 * sd[0] / found.fx_px:.1f} %, wanted {100 * MOST_SD:g} %: "
            "tilt the board by 20 to 40° to all sides, and take more pictures"
        )
    tilt_deg = _tilt_deg(some, found)
    if tilt_deg < LEAST_TILT_DEG:
        raise CalibrationError(
            f"the board was tilted by {tilt_deg:.0f}° only (RMS), wanted {LEAST_TILT_DEG:g}°: focal length and "
            "distance cannot be told apart; tilt it by 20 to 40° to all sides"
        )
    view_px = np.array([_off_px(d, found, name) for d, name in zip(detections, names, strict=True)])
    return Calibrated(found, model, sd, held_out, view_px, used, counts)


def _solve(detections: Sequence[Detection], size: tuple[int, int], flags: int) -> tuple[Intrinsics, Array]:
    points = [d.points_m.astype(np.float32) for d in detections]
    pixels = [d.pixels.astype(np.float32)[:, None] for d in detections]
    guess = np.array(((size[0], 0, size[0] / 2), (0, size[0], size[1] / 2), (0, 0, 1)), np.float64)
    done = cv2.calibrateCameraExtended(points, pixels, size, guess, np.zeros(5), flags=flags)
    K, distortion, sd = np.asarray(done[1]), np.ravel(done[2])[:5], np.ravel(np.asarray(done[5], np.float64))[:4]
    none = flags == MODELS["no distortion"]
    found = Intrinsics(
        width_px=size[0], height_px=size[1], fx_px=float(K[0, 0]), fy_px=float(K[1, 1]), cx_px=float(K[0, 2]),
        cy_px=float(K[1, 2]), distortion=() if none else tuple(map(float, distortion)),
    )  # fmt: skip
    return found, sd


def _tilt_deg(detections: Sequence[Detection], intrinsics: Intrinsics) -> float:
    """RMS of the angle between the board's normal and the camera's axis."""
    across = [board_pose(d, intrinsics, "tilt")[0][2, 2] for d in detections]
    return float(np.degrees(np.sqrt(np.mean(np.arccos(np.clip(np.abs(across), 0.0, 1.0)) ** 2))))


def _held_out(detections: Sequence[Detection], size: tuple[int, int], flags: int) -> float:
    """RMS of views against intrinsics from the others, each with a pose of its own."""
    squares = []
    for fold in range(_FOLDS):
        rest = [d for number, d in enumerate(detections) if number % _FOLDS != fold]
        found, _ = _solve(rest, size, flags)
        squares += [_off_px(d, found, "held out") ** 2 for d in detections[fold::_FOLDS]]
    return float(np.sqrt(np.mean(squares)))


def _off_px(detection: Detection, intrinsics: Intrinsics, name: str) -> float:
    """RMS of a view's corners, over both coordinates, at its best pose; infinite where it has none."""
    try:
        pose, kept = board_pose(detection, intrinsics, name)
    except CalibrationError:
        return np.inf
    pixels, _ = project(kept.points_m @ pose[:3, :3].T + pose[:3, 3], intrinsics)
    return float(np.sqrt(np.mean((pixels - kept.pixels) ** 2)))


@dataclass(frozen=True)
class Comparison:
    """How two intrinsics of a camera differ: focal length in percent, and what no turn of the camera explains, px."""

    focal_percent: float
    mean_px: float
    most_px: float


def compare(ours: Intrinsics, factory: Intrinsics) -> Comparison:
    """Return how far the factory's intrinsics are from ours, over the whole picture.

    Raises:
        CalibrationError: they are of pictures of another size.
    """
    if (ours.width_px, ours.height_px) != (factory.width_px, factory.height_px):
        raise CalibrationError(
            f"factory intrinsics are of {factory.width_px}x{factory.height_px} pictures, "
            f"these are {ours.width_px}x{ours.height_px}"
        )
    x, y = np.meshgrid(np.linspace(0, ours.width_px - 1, 9), np.linspace(0, ours.height_px - 1, 7))
    grid = np.stack((x.ravel(), y.ravel()), axis=1)
    rays, same = _rays(grid, ours), _rays(grid, factory)
    U, _, Vt = np.linalg.svd(same.T @ rays)
    theirs, _ = project(rays @ (U @ Vt).T, factory)
    off = np.linalg.norm(theirs - grid, axis=1)
    return Comparison(100.0 * (factory.fx_px / ours.fx_px - 1.0), float(off.mean()), float(off.max()))


def _rays(pixels: Array, intrinsics: Intrinsics) -> Array:
    """Directions (N, 3) of length 1 that pixels (N, 2) look into."""
    flat = cv2.undistortPoints(pixels[:, None], intrinsics.K_camera, intrinsics.coefficients)[:, 0]
    rays = np.column_stack((flat, np.ones(len(flat))))
    return np.asarray(rays / np.linalg.norm(rays, axis=1, keepdims=True))
