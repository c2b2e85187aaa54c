import numpy as np
import pytest

from calibration.board import Detection
from calibration.optics import board_pose, project
from d2ppo_core.errors import CalibrationError

from .synthetic import CAMERA, camera_poses, detections_of, error_of, inverses


def views(seed: int, count: int, pixel_sd: float) -> tuple[np.ndarray, list[Detection]]:
    rng = np.random.default_rng(seed)
    boards = inverses(camera_poses(rng, count))
    return boards, detections_of(rng, boards, pixel_sd)


def test_the_derivative_of_a_projection_is_the_slope_of_the_pixels() -> None:
    points = np.random.default_rng(0).uniform((-0.2, -0.15, 0.4), (0.2, 0.15, 0.7), (20, 3))
    _, slope = project(points, CAMERA)
    for axis in range(3):
        step = 1e-6 * np.eye(3)[axis]
        numeric = (project(points + step, CAMERA)[0] - project(points - step, CAMERA)[0]) / 2e-6
        assert slope[:, :, axis] == pytest.approx(numeric, abs=1e-2)


def test_the_pose_of_a_board_is_found_to_what_the_pixels_allow() -> None:
    boards, detections = views(1, 12, 0.3)
    errors = np.array([error_of(board_pose(d, CAMERA, "a")[0], b) for b, d in zip(boards, detections, strict=True)])
    assert np.median(errors, axis=0) == pytest.approx((0, 0), abs=1.5)
    assert board_pose(views(1, 1, 0.0)[1][0], CAMERA, "a")[0] == pytest.approx(boards[0], abs=1e-5)


def test_wrong_corners_are_dropped_and_no_others() -> None:
    boards, (detection,) = views(2, 1, 0.2)
    wrong = [3, 17, 30]
    detection.pixels[wrong] += ((9.0, -4.0), (-25.0, 3.0), (4.0, 6.0))
    pose, kept = board_pose(detection, CAMERA, "a")
    assert sorted({*range(40)} - {*kept.ids.tolist()}) == wrong
    assert error_of(pose, boards[0])[0] < 2.0


def test_corners_that_lie_as_on_no_such_board_are_refused() -> None:
    _, (detection,) = views(3, 1, 0.2)
    shifted = Detection(detection.ids, detection.pixels, np.roll(detection.points_m, 3, axis=0))
    with pytest.raises(CalibrationError, match=r"04\.png: the corners do not lie as on this board, .* px off: check"):
        board_pose(shifted, CAMERA, "04.png")
