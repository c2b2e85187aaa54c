import cv2
import numpy as np
import pytest

from calibration.board import Detector, cv_board
from d2ppo_core.calibrated import Board
from d2ppo_core.errors import CalibrationError, ConfigError

BOARD = Board()
SQUARE_PX, MARGIN_PX = 60, 40


def picture_of(board: Board) -> np.ndarray:
    size = (SQUARE_PX * board.columns, SQUARE_PX * board.rows)
    flat = np.asarray(cv_board(board).generateImage(size, marginSize=0))
    return cv2.copyMakeBorder(flat, *(MARGIN_PX,) * 4, cv2.BORDER_CONSTANT, value=255)


def test_every_corner_is_found_where_it_is_and_known_by_its_place_on_the_board() -> None:
    found = Detector(BOARD).detect(picture_of(BOARD), "a.png")
    assert found.ids.tolist() == list(range(8 * 5))
    expected = MARGIN_PX - 0.5 + SQUARE_PX * found.points_m[:, :2] / BOARD.square_m
    assert np.abs(found.pixels - expected).max() < 0.25
    assert found.points_m[0] == pytest.approx((BOARD.square_m, BOARD.square_m, 0.0))


def test_colour_is_as_good_as_grey() -> None:
    grey = picture_of(BOARD)
    colour = Detector(BOARD).detect(np.repeat(grey[:, :, None], 3, axis=2), "a.png")
    assert colour.pixels == pytest.approx(Detector(BOARD).detect(grey, "a.png").pixels)


def test_a_part_of_the_board_gives_the_corners_of_that_part() -> None:
    grey = picture_of(BOARD)
    grey[:, : grey.shape[1] // 2] = 255
    found = Detector(BOARD).detect(grey, "a.png")
    assert 8 <= len(found.ids) < 25
    assert found.points_m[:, 0].min() > 4 * BOARD.square_m


def test_a_picture_without_the_board_says_what_was_seen_and_what_to_do() -> None:
    with pytest.raises(
        CalibrationError, match=r"07\.png: 0 corners and 0 markers .* wanted 8 corners of 9x6 .*: bring"
    ):
        Detector(BOARD).detect(np.full((480, 640), 200, np.uint8), "07.png")


@pytest.mark.parametrize(
    ("theirs", "reason"),
    [
        (Board(columns=12, rows=7), "shows marker 27, 28, 29, which a board of 9x6 squares of 5X5_100 lacks: another"),
        (Board(dictionary="4X4_50"), "0 corners and"),
    ],
    ids=["larger", "other markers"],
)
def test_another_board_is_told_from_this_one(theirs: Board, reason: str) -> None:
    with pytest.raises(CalibrationError, match=reason):
        Detector(BOARD).detect(picture_of(theirs), "a.png")


def test_two_boards_in_one_picture_are_refused() -> None:
    mine, theirs = picture_of(BOARD), picture_of(Board(columns=12, rows=7))
    both = np.full((mine.shape[0] + theirs.shape[0], theirs.shape[1]), 255, np.uint8)
    both[: mine.shape[0], : mine.shape[1]] = mine
    both[mine.shape[0] :] = theirs
    with pytest.raises(CalibrationError, match="another board is in the picture"):
        Detector(BOARD).detect(both, "a.png")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"dictionary": "9X9_7"}, "board.dictionary: wanted one of 4X4_100, "),
        ({"dictionary": "4X4_50", "columns": 20, "rows": 10}, "needs 100 markers, 4X4_50 has 50: take a larger"),
        ({"square_m": 28.0}, "board.square_m: wanted 0.003 to 0.5 m, got 28.0; it is in metres"),
        ({"columns": 2}, "wanted 3 to 40 squares a side, got 2x6"),
        ({"marker_share": 1.0}, "board.marker_share: wanted 0.4 to 0.9, got 1.0"),
    ],
)
def test_a_board_that_cannot_be_is_refused(values: dict, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        cv_board(Board(**values))
