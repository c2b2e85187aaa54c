"""The page of a hand-eye calibration: what was found, how good it is, and every view with its residuals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from calibration.hand_eye import HandEye
from calibration.session import Usable
from calibration.views import drawn
from d2ppo_core.analysis.pages import data_uri, svg_uri, write_page
from d2ppo_core.calibrated import HandEyeFile, hash_of

ARROWS = 40.0
"""Residuals are drawn so many times as long as they are."""
_WIDTH_PX = 400


def write_hand_eye_page(path: Path, found: HandEye, content: HandEyeFile, usable: Usable, saved: str) -> Path:
    """Write one HTML file with pictures and residuals.

    Args:
        path: Of the page.
        found: The result.
        content: The same as the file has it.
        usable: Pictures and detections of all views that were tried.
        saved: Where the file lies, or why there is none.

    Raises:
        OutputError: something else than a page of ours is there, or nothing can be written.
    """
    pictures = {}
    for number, name in enumerate(usable.names):
        pictures[name] = _picture(usable.pictures[number], usable, number, _residuals(found, name))
    return write_page(
        path,
        "hand_eye.html.j2",
        package="calibration",
        found=found,
        file=content,
        hash=hash_of(content),
        saved=saved,
        half=_half_interval(found),
        offsets_deg=[round(float(np.degrees(value)), 3) for value in found.joint_offsets_rad],
        turns=", ".join(f"{turn:.1f}°" for turn in found.turn_deg),
        refused=usable.refused,
        pictures=pictures,
        arrows=ARROWS,
        held_out_plot=svg_uri(_plot_held_out(found)),
        residual_plot=svg_uri(_plot_residuals(found)),
    )


def _half_interval(found: HandEye) -> list[float]:
    """Half of the 95 % interval: mm, and degrees about the camera's axes."""
    return [*(1000.0 * found.position_interval).tolist(), *np.degrees(found.interval[3:]).tolist()]


def _residuals(found: HandEye, name: str) -> NDArray[np.float64] | None:
    used = [view.picture for view in found.views if view.used]
    if name not in used:
        return None
    mine = found.chain.view == used.index(name)
    return np.hstack((found.chain.pixels[mine], found.chain.residuals()[0][mine]))


def _picture(grey: NDArray[np.uint8], usable: Usable, number: int, residuals: NDArray[np.float64] | None) -> str:
    scale = min(1.0, _WIDTH_PX / grey.shape[1])
    small = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    detection = usable.detections[number]
    pixels = detection.pixels if residuals is None else residuals[:, :2]
    arrows = None if residuals is None else residuals[:, 2:] * scale
    picture = drawn(np.asarray(small, np.uint8), pixels * scale, arrows, ARROWS)
    _, content = cv2.imencode(".jpg", picture[:, :, ::-1], (cv2.IMWRITE_JPEG_QUALITY, 80))
    return data_uri("image/jpeg", content.tobytes())


def _plot_held_out(found: HandEye) -> Figure:
    figure = Figure(figsize=(9.5, 2.6), layout="constrained")
    for axis, values, unit in zip(
        figure.subplots(1, 2), (_values(found, "held_out_mm"), _values(found, "held_out_deg")), ("mm", "°"), strict=True
    ):
        colours = ["#3b6ea5" if view.used else "#c0392b" for view in found.views]
        axis.bar(range(len(values)), values, color=colours)
        axis.set_ylabel(f"held-out error, {unit}")
        axis.set_xlabel("view; red had no part")
        axis.grid(axis="y", alpha=0.25)
    return figure


def _values(found: HandEye, name: str) -> Sequence[float]:
    return [getattr(view, name) for view in found.views]


def _plot_residuals(found: HandEye) -> Figure:
    figure = Figure(figsize=(3.6, 3.4), layout="constrained")
    axis = figure.subplots()
    axis.plot(*found.chain.residuals()[0].T, ".", color="#3b6ea5", markersize=3)
    axis.set(xlabel="right, px", ylabel="down, px", aspect="equal")
    axis.grid(alpha=0.25)
    return figure
