"""Where the chain starts: the pose of the board in each picture, a closed form, and a robust fit over all pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from calibration.board import Detection
from calibration.chain import Bools, Chain, fit_pixels
from calibration.closed_form import hand_eye_start, inverses
from calibration.optics import board_pose
from d2ppo_core.calibrated import Intrinsics
from d2ppo_core.geometry import Array, inverse, rotation_vector

_GROSS, _GROSS_TIMES = (60.0, 8.0), 6.0
"""Millimetres and degrees, and times the median, from which a view has no part from the beginning."""


@dataclass(frozen=True)
class Start:
    """A chain that stands where the pixels of most views say, of all views; `boards` (N, 4, 4) are each view's own.

    `sane` (N,) tells views that are so far off that their pixels, seen from there, would mean nothing.
    """

    chain: Chain
    boards: Array
    sane: Bools


def start_chain(
    hands: Array, detections: Sequence[Detection], intrinsics: Intrinsics, names: Sequence[str], mount: str
) -> Start:
    """Return the chain from a closed form and a fit over all pixels.

    Raises:
        CalibrationError: the corners of a picture do not lie as on the board.
    """
    posed = [board_pose(detection, intrinsics, name) for detection, name in zip(detections, names, strict=True)]
    boards, used = np.stack([pose for pose, _ in posed]), [good for _, good in posed]
    carried = hands if mount == "hand" else inverses(hands)
    X, Z = hand_eye_start(carried, boards)
    chain = replace(Chain.of(carried, used, intrinsics, X, Z), inverted=mount == "base")
    start = Start(chain, boards, np.ones(len(hands), bool))
    off = np.array([apart(start, view) for view in range(len(hands))])
    sane = (off <= np.maximum(_GROSS, _GROSS_TIMES * np.median(off, axis=0))).all(axis=1)
    fitted = fit_pixels(chain.only(np.flatnonzero(sane)), 0.5)
    return replace(start, chain=replace(chain, X=fitted.X, Z=fitted.Z), sane=sane)


def apart(start: Start, view: int) -> tuple[float, float]:
    """Return how far a view's own board is from where the chain has it, mm at its middle and degrees."""
    chain, middle = start.chain, np.append(start.chain.points_m[start.chain.view == view].mean(axis=0), 1.0)
    expected = inverse(chain.hands[view] @ chain.X) @ chain.Z
    off = inverse(expected) @ start.boards[view]
    off_mm = 1000.0 * float(np.linalg.norm(((expected - start.boards[view]) @ middle)[:3]))
    return off_mm, float(np.degrees(np.linalg.norm(rotation_vector(off[:3, :3]))))
