"""Whether a stored hand-eye calibration still holds: a statistical test on three views or more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import chi2, ncx2

from calibration.board import Detection
from calibration.chain import Chain
from calibration.closed_form import inverses, nearest_to_all
from calibration.estimate import Noise, pixel_sd, solve
from calibration.optics import board_pose
from d2ppo_core.calibrated import HandEyeFile
from d2ppo_core.errors import CalibrationError
from d2ppo_core.geometry import Array, inverse, rotation_vector

LEAST_VIEWS = 3
FALSE_ALARMS = 0.005
NOTICED_M, NOTICED_RAD = 0.005, float(np.radians(1.0))
"""A camera that moved by so much must be noticed."""
POWER = 0.95
MOST_SD = 0.5
"""Of what must be noticed, in the worst direction and whatever else moved."""
_CURE = "tilt the hand by 30° or more between them, about two axes, go closer to the board, or take more views"
_LIMIT = float(chi2.ppf(1.0 - FALSE_ALARMS, 6))
_STEPS = 6


@dataclass(frozen=True)
class Verdict:
    """What the views say.

    Attributes:
        holds: Whether what is stored agrees with them.
        moved_mm: How far the camera seems to be from where it is stored.
        moved_deg: The same for its rotation.
        sd_mm: Standard deviation of that, in its worst direction.
        sd_deg: The same for its rotation.
        chance: Probability of views that disagree as much, or more, when nothing moved.
    """

    holds: bool
    moved_mm: float
    moved_deg: float
    sd_mm: float
    sd_deg: float
    chance: float


def check(stored: HandEyeFile, hands: Array, detections: Sequence[Detection], names: Sequence[str]) -> Verdict:
    """Compare views with what is stored; the board may lie anywhere, as long as it stays there.

    Args:
        stored: Calibration of this camera and robot.
        hands: T_base_ee, (N, 4, 4), with the joint offsets that are stored, if any.
        detections: The board in each picture.
        names: Of the pictures, for messages.

    Raises:
        CalibrationError: too few views, or such that would not tell whether the camera moved.
    """
    if len(hands) < LEAST_VIEWS:
        raise CalibrationError(f"{len(hands)} usable views, wanted {LEAST_VIEWS}: take more pictures")
    posed = [board_pose(d, stored.intrinsics, name) for d, name in zip(detections, names, strict=True)]
    boards, used = np.stack([pose for pose, _ in posed]), [good for _, good in posed]
    carried, X = hands if stored.mount == "hand" else inverses(hands), stored.transform.matrix
    places = carried @ X @ boards
    chain = Chain.of(carried, used, stored.intrinsics, X, places[nearest_to_all(places)])
    chain = replace(chain, inverted=stored.mount == "base")
    for _ in range(_STEPS):
        linear = chain.linear()
        noise = Noise(max(stored.noise_px, pixel_sd(linear)), stored.noise_hand_m, stored.noise_hand_rad)
        fit = solve(linear, linear.A[:, :, :12], noise)
        chain = chain.after(fit.step)
        if np.abs(fit.step).max() < 1e-7:
            break
    off = inverse(X) @ chain.X
    step = np.append(off[:3, 3], rotation_vector(off[:3, :3]))
    spread = fit.covariance[:6, :6] + np.array(stored.covariance)
    _refuse_blind(spread)
    squared = float(step @ np.linalg.solve(spread, step))
    sd_m, sd_rad = (np.sqrt(np.linalg.eigvalsh(block).max()) for block in (spread[:3, :3], spread[3:, 3:]))
    return Verdict(
        holds=squared <= _LIMIT,
        moved_mm=1000.0 * float(np.linalg.norm(step[:3])),
        moved_deg=float(np.degrees(np.linalg.norm(step[3:]))),
        sd_mm=1000.0 * float(sd_m),
        sd_deg=float(np.degrees(sd_rad)),
        chance=float(chi2.sf(squared, 6)),
    )


def _refuse_blind(spread: Array) -> None:
    """Raise CalibrationError where a camera that moved, or one that turned as well, could go unnoticed."""
    sharpness: Array = np.asarray(np.linalg.inv(spread), np.float64)
    for block, least, unit in ((spread[:3, :3], NOTICED_M, "5 mm"), (spread[3:, 3:], NOTICED_RAD, "1°")):
        known = float(np.sqrt(np.linalg.eigvalsh(block).max())) / least
        if known > MOST_SD:
            raise CalibrationError(
                f"these views say where the camera is to {known:.1f} times {unit} only (standard deviation), wanted "
                f"{MOST_SD:g}: {_CURE}"
            )
    for block, least, unit in ((sharpness[:3, :3], NOTICED_M, "5 mm"), (sharpness[3:, 3:], NOTICED_RAD, "1°")):
        noticed = float(ncx2.sf(_LIMIT, 6, least**2 * np.linalg.eigvalsh(block).min()))
        if noticed < POWER:
            raise CalibrationError(
                f"these views notice a camera that moved by {unit} in {100 * noticed:.0f} of 100 cases only, "
                f"wanted {100 * POWER:.0f}: {_CURE}"
            )
