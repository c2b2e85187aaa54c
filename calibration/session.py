"""From a capture's folder to what is calibrated: pictures read, boards found, unusable views refused by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibration.board import Detection, Detector
from calibration.capture import Capture, View, hand_pose, read_picture
from calibration.views import refuse_blurred, repeated
from d2ppo_core.calibrated import Board, Intrinsics
from d2ppo_core.errors import CalibrationError
from d2ppo_core.geometry import Array


@dataclass
class Usable:
    """Views that can be used, and why the others cannot.

    Attributes:
        pictures: Grey, (H, W) each.
        detections: The board in each.
        hands: T_base_ee of each, where they were asked for.
        refused: Reason of each of the others; it begins with the picture's name.
    """

    views: list[View] = field(default_factory=list)
    pictures: list[NDArray[np.uint8]] = field(default_factory=list)
    detections: list[Detection] = field(default_factory=list)
    hands: list[Array] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """Of the pictures."""
        return [view.picture for view in self.views]

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height of the pictures."""
        return self.pictures[0].shape[1], self.pictures[0].shape[0]

    def require(self, least: int) -> None:
        """Raise CalibrationError, with a reason why views were refused, where fewer are left."""
        if len(self.views) < least:
            total = len(self.views) + len(self.refused)
            why = f"; the first one that is not, {self.refused[0]}" if self.refused else ""
            raise CalibrationError(f"{len(self.views)} of {total} views are usable, wanted {least}{why}")

    def require_size(self, intrinsics: Intrinsics) -> None:
        """Raise CalibrationError where the pictures are not of the size that the intrinsics are of."""
        if self.size_px != (intrinsics.width_px, intrinsics.height_px):
            raise CalibrationError(
                f"the pictures are {self.size_px[0]}x{self.size_px[1]}, the intrinsics are of {intrinsics.width_px}x"
                f"{intrinsics.height_px}: capture in that size, or calibrate the intrinsics of this one"
            )


def usable_views(
    folder: Path,
    capture: Capture,
    board: Board,
    *,
    with_hands: bool,
    refuse_repeated: bool = False,
    joint_offsets_rad: tuple[float, ...] = (),
    say: Callable[[str], None] = lambda text: None,
) -> Usable:
    """Read a capture's views; `say` is told of each that is refused.

    Raises:
        ConfigError: there is no such board.
        CalibrationError: pictures differ in size.
    """
    result, detector = Usable(), Detector(board)
    for view in capture.views:
        try:
            hand = hand_pose(capture, view, joint_offsets_rad) if with_hands else None
            picture = read_picture(folder, view)
            detection = detector.detect(picture, view.picture)
            refuse_blurred(picture, detection, view.picture)
            same = repeated(detection, result.detections, picture.shape[1]) if refuse_repeated else None
            if same is not None:
                raise CalibrationError(f"{view.picture}: the same view as {result.names[same]}: move or tilt the board")
        except CalibrationError as error:
            result.refused.append(str(error))
            say(f"refused      {error}")
            continue
        if result.pictures and picture.shape != result.pictures[0].shape:
            raise CalibrationError(f"{view.picture}: {picture.shape[1]}x{picture.shape[0]}, others are of another size")
        result.views.append(view)
        result.pictures.append(picture)
        result.detections.append(detection)
        if hand is not None:
            result.hands.append(hand)
    return result
