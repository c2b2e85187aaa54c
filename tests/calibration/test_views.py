import cv2
import numpy as np
import pytest

from calibration.board import Detection, Detector, cv_board
from calibration.views import (
    corner_counts,
    coverage,
    coverage_lines,
    drawn,
    edge_width_px,
    refuse_blurred,
    repeated,
)  # fmt: skip
from d2ppo_core.calibrated import Board
from d2ppo_core.errors import CalibrationError

BOARD = Board()


@pytest.fixture(scope="module")
def sharp() -> tuple[np.ndarray, Detection]:
    flat = np.asarray(cv_board(BOARD).generateImage((540, 360), marginSize=0))
    grey = cv2.copyMakeBorder(flat, 60, 60, 50, 50, cv2.BORDER_CONSTANT, value=255)
    grey = cv2.GaussianBlur(grey, (0, 0), 0.6)
    return grey, Detector(BOARD).detect(grey, "a")


def smear(grey: np.ndarray, angle_deg: float, length_px: int = 13) -> np.ndarray:
    kernel = np.zeros((length_px, length_px), np.float32)
    kernel[length_px // 2] = 1.0 / length_px
    turn = cv2.getRotationMatrix2D((length_px // 2, length_px // 2), angle_deg, 1.0)
    kernel = cv2.warpAffine(kernel, turn, (length_px, length_px))
    return cv2.filter2D(grey, -1, kernel / kernel.sum())


def test_a_sharp_picture_is_taken(sharp: tuple[np.ndarray, Detection]) -> None:
    assert edge_width_px(*sharp) < 1.0
    refuse_blurred(*sharp, "a.png")


@pytest.mark.parametrize("angle_deg", [0.0, 45.0, 90.0])
def test_motion_in_any_direction_is_blur(sharp: tuple[np.ndarray, Detection], angle_deg: float) -> None:
    grey, detection = sharp
    with pytest.raises(CalibrationError, match=r"03\.png: blurred, edges are .* px wide, wanted 1\.5: hold still"):
        refuse_blurred(smear(grey, angle_deg), detection, "03.png")


def test_a_picture_out_of_focus_is_refused(sharp: tuple[np.ndarray, Detection]) -> None:
    grey, detection = sharp
    assert edge_width_px(cv2.GaussianBlur(grey, (0, 0), 3.0), detection) == pytest.approx(3.0, abs=0.7)


def test_a_view_like_an_earlier_one_is_recognised(sharp: tuple[np.ndarray, Detection]) -> None:
    detection = sharp[1]
    near = Detection(detection.ids, detection.pixels + 5.0, detection.points_m)
    far = Detection(detection.ids, detection.pixels + 40.0, detection.points_m)
    assert repeated(near, [far, detection], 640) == 1
    assert repeated(far, [detection], 640) is None
    assert repeated(detection.only(detection.ids < 3), [detection], 640) is None


def test_the_map_counts_corners_where_they_are() -> None:
    pixels = np.array(((0.0, 0.0), (1.0, 1.0), (639.0, 479.0)))
    counts = corner_counts([Detection(np.arange(3), pixels, np.zeros((3, 3)))], 640, 480)
    assert counts.shape == (4, 5) and counts[0, 0] == 2 and counts[3, 4] == 1 and counts.sum() == 3
    assert coverage(counts) == pytest.approx(1.5 / 20)
    assert coverage_lines(counts)[0].split() == ["2", ".", ".", ".", "."]
    assert coverage(corner_counts([], 640, 480)) == 0.0


def test_arrows_are_drawn_from_the_corners(sharp: tuple[np.ndarray, Detection]) -> None:
    grey, detection = sharp
    plain = drawn(grey, detection.pixels, None, 40.0)
    arrows = drawn(grey, detection.pixels, np.full((40, 2), 0.5), 40.0)
    assert plain.shape == (*grey.shape, 3)
    x, y = np.rint(detection.pixels[0] + 10).astype(int)
    assert arrows[y, x].tolist() != plain[y, x].tolist()
