"""From points to pixels and back: projection with its derivative, and the pose of a board in one picture."""

from __future__ import annotations

import cv2
import numpy as np

from calibration.board import LEAST_CORNERS, Detection
from d2ppo_core.calibrated import Intrinsics
from d2ppo_core.errors import CalibrationError
from d2ppo_core.geometry import Array, rotation_matrix

_ZERO = np.zeros(3)
WRONG_BY = 6.0
"""A corner that is off by more than so many robust standard deviations is a wrong detection."""
_LEAST_SD_PX = 0.05
FITS_PX = 3.0
"""A board whose typical corner lies further off than this is not the one that was described."""


def project(points_m: Array, intrinsics: Intrinsics) -> tuple[Array, Array]:
    """Return pixels (N, 2) of points (N, 3) in the camera's frame, and their derivatives (N, 2, 3)."""
    pixels, jacobian = cv2.projectPoints(points_m, _ZERO, _ZERO, intrinsics.K_camera, intrinsics.coefficients)
    return np.asarray(pixels, np.float64).reshape(-1, 2), np.asarray(jacobian, np.float64)[:, 3:6].reshape(-1, 2, 3)


def board_pose(detection: Detection, intrinsics: Intrinsics, where: str) -> tuple[Array, Detection]:
    """Return T_camera_board (4, 4) of one picture and the detection without its wrong corners.

    Raises:
        CalibrationError: the corners do not lie as on the board.
    """
    while True:
        pose = _solve(detection, intrinsics)
        seen = detection.points_m @ pose[:3, :3].T + pose[:3, 3]
        off_px = np.linalg.norm(project(seen, intrinsics)[0] - detection.pixels, axis=1)
        typical = float(np.median(off_px))
        if typical > FITS_PX or (seen[:, 2] <= 0).any():
            raise CalibrationError(
                f"{where}: the corners do not lie as on this board, {typical:.1f} px off: "
                "check --columns and --rows, that the sheet is flat, and whose intrinsics these are"
            )
        keep = off_px <= WRONG_BY * max(_LEAST_SD_PX, typical / 1.18)  # median of a Rayleigh is 1.18 sd
        if keep.all():
            return pose, detection
        if keep.sum() < LEAST_CORNERS:
            raise CalibrationError(f"{where}: only {keep.sum()} corners lie as on the board: take this picture again")
        worst = off_px < off_px.max()  # one at a time: a wrong corner pulls its neighbours along
        detection = detection.only(worst)


def _solve(detection: Detection, intrinsics: Intrinsics) -> Array:
    K, coefficients = intrinsics.K_camera, intrinsics.coefficients
    _, turns, shifts, _ = cv2.solvePnPGeneric(
        detection.points_m, detection.pixels, K, coefficients, flags=cv2.SOLVEPNP_IPPE
    )  # the better of two mirror images comes first
    turn, shift = cv2.solvePnPRefineLM(detection.points_m, detection.pixels, K, coefficients, turns[0], shifts[0])
    pose = np.eye(4)
    pose[:3, :3] = rotation_matrix(np.ravel(turn))
    pose[:3, 3] = np.ravel(shift)
    return pose
