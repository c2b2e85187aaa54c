"""Finds a ChArUco board in a picture: which corners, where, and where they are on the board."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from d2ppo_core.calibrated import Board
from d2ppo_core.errors import CalibrationError, ConfigError
from d2ppo_core.geometry import Array

LEAST_CORNERS = 8
"""Fewer say too little about where the board is."""
FOREIGN_MARKERS = 2
"""Markers of no board of ours that make another board; a single one may be a pattern of the background."""


@dataclass(frozen=True)
class Detection:
    """Corners of a board in one picture.

    Attributes:
        ids: Which corners, (N,), counted along the rows of squares.
        pixels: Where, (N, 2); the centre of the first pixel is (0, 0).
        points_m: Where on the board, (N, 3): x along its rows, y down, z into it, the origin at its corner.
    """

    ids: NDArray[np.int64]
    pixels: Array
    points_m: Array

    def only(self, keep: NDArray[np.bool_]) -> Detection:
        """Return those corners that are marked in `keep` (N,)."""
        return Detection(self.ids[keep], self.pixels[keep], self.points_m[keep])


def markers_of(board: Board) -> int:
    """Return how many markers a board has: one in each white square."""
    return board.columns * board.rows // 2


def cv_board(board: Board) -> Any:
    """Return OpenCV's board.

    Raises:
        ConfigError: there is no such dictionary, or it has too few markers.
    """
    code = getattr(cv2.aruco, f"DICT_{board.dictionary}", None)
    if code is None:
        known = sorted(name[5:] for name in dir(cv2.aruco) if name.startswith("DICT_") and name[5].isdigit())
        raise ConfigError(f"board.dictionary: wanted one of {', '.join(known)}, got {board.dictionary!r}")
    dictionary = cv2.aruco.getPredefinedDictionary(code)
    there = len(dictionary.bytesList)
    if there < markers_of(board):
        raise ConfigError(
            f"a board of {board.columns}x{board.rows} squares needs {markers_of(board)} markers, "
            f"{board.dictionary} has {there}: take a larger dictionary"
        )
    size = (board.columns, board.rows)
    return cv2.aruco.CharucoBoard(size, board.square_m, board.square_m * board.marker_share, dictionary)


class Detector:
    """Finds one board in any number of pictures."""

    def __init__(self, board: Board) -> None:
        """Raise ConfigError for a board whose markers there are not."""
        self.board = board
        made = cv_board(board)
        self._points_m = np.asarray(made.getChessboardCorners(), np.float64)
        self._charuco = cv2.aruco.CharucoDetector(made)
        self._markers = cv2.aruco.ArucoDetector(made.getDictionary())

    def detect(self, picture: NDArray[np.uint8], where: str) -> Detection:
        """Return the corners in a picture, (H, W) grey or (H, W, 3).

        Args:
            picture: Eight bits a channel.
            where: Name of the picture, for messages.

        Raises:
            CalibrationError: the board is not there, too little of it is, or another one is.
        """
        grey = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        corners, found, _ = self._markers.detectMarkers(grey)
        seen = [] if found is None else np.ravel(found).tolist()
        pixels, ids, _, _ = self._charuco.detectBoard(grey, None, None, corners, found) if seen else (None,) * 4
        foreign = sorted({number for number in seen if number >= markers_of(self.board)})
        shape = f"{self.board.columns}x{self.board.rows} squares of {self.board.dictionary}"
        if len(foreign) >= FOREIGN_MARKERS:
            raise CalibrationError(
                f"{where}: shows marker {', '.join(map(str, foreign[:3]))}, which a board of {shape} lacks: "
                "another board is in the picture, or --columns and --rows are not this one's"
            )
        if ids is None or len(ids) < LEAST_CORNERS:
            count = 0 if ids is None else len(ids)
            if count == 0 and len(seen) >= LEAST_CORNERS:
                raise CalibrationError(
                    f"{where}: {len(seen)} markers seen, but they do not lie as on a board of {shape}: "
                    "check --columns, --rows and --marker-share"
                )
            raise CalibrationError(
                f"{where}: {count} corners and {len(seen)} markers of the board seen, wanted {LEAST_CORNERS} corners "
                f"of {shape}: bring all of it into the picture, closer, in even light"
            )
        which = np.ravel(ids).astype(np.int64)
        return Detection(which, np.asarray(pixels, np.float64).reshape(-1, 2), self._points_m[which])
