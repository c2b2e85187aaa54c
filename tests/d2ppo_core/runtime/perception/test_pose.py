"""Poses from corners: exact for exact ones, as uncertain as they say for noisy ones, honest about a square."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

cv2 = pytest.importorskip("cv2", reason="needs OpenCV (extra sim)")

from d2ppo_core.geometry import step_between, transform_from  # noqa: E402
from d2ppo_core.runtime.perception.edges import refined_corners  # noqa: E402
from d2ppo_core.runtime.perception.markers import Marker  # noqa: E402
from d2ppo_core.runtime.perception.pose import CORNER_PX, pose_of_several, pose_of_square  # noqa: E402

K = np.array([[580.0, 0.0, 319.5], [0.0, 580.0, 239.5], [0.0, 0.0, 1.0]])
MARKER = Marker(id=0, size_m=0.03, object_m=(0.0, 0.01, -0.02), object_rpy_deg=(10.0, 20.0, 30.0))
OTHER = Marker(id=1, size_m=0.03, object_m=(0.0, 0.0, -0.02), object_rpy_deg=(-90.0, 0.0, 0.0))


def pixels(pose: np.ndarray, points: np.ndarray) -> np.ndarray:
    seen = (points @ pose[:3, :3].T + pose[:3, 3]) @ K.T
    return seen[:, :2] / seen[:, 2:]


def seen_from(tilt_deg: float) -> np.ndarray:
    """A pose 0.6 m away in which the first marker faces the camera but for a tilt."""
    facing = transform_from([0.05, -0.03, 0.6], Rotation.from_euler("x", 180.0 - tilt_deg, degrees=True))
    return facing @ np.linalg.inv(MARKER.T_object_marker)


def test_exact_corners_give_the_exact_pose():
    pose = seen_from(40.0)
    one = pose_of_square(cv2, MARKER, pixels(pose, MARKER.corners_m), K)
    points = np.concatenate([MARKER.corners_m, OTHER.corners_m])
    several = pose_of_several(cv2, points, pixels(pose, points), K)
    for estimate in (one, several):
        assert np.abs(step_between(pose, estimate.pose)).max() < 1e-6 and estimate.rms_px < 1e-4
    assert several.std_rad < one.std_rad


def test_the_covariance_says_how_far_off_the_pose_is():
    rng, pose = np.random.default_rng(1), seen_from(45.0)
    points = np.concatenate([MARKER.corners_m, OTHER.corners_m])
    exact, scores = pixels(pose, points), []
    for _ in range(300):
        estimate = pose_of_several(cv2, points, exact + rng.normal(0.0, 2.0 * CORNER_PX, exact.shape), K)
        off = step_between(pose, estimate.pose)
        scores.append(off @ np.linalg.solve(estimate.covariance, off))
    assert 4.0 < np.mean(scores) < 16.0, "6 on average, more for the noise that the residual of few corners hides"


def test_a_square_that_faces_the_camera_may_be_tilted_either_way_and_says_so():
    facing, tilted = (pose_of_square(cv2, MARKER, pixels(seen_from(tilt), MARKER.corners_m), K) for tilt in (3.0, 45.0))
    assert facing.std_rad > np.radians(4.0) > np.radians(3.0) > tilted.std_rad


def test_a_squares_sides_give_its_corners_to_a_few_hundredths_of_a_pixel():
    rng, cells, scale = np.random.default_rng(2), 6, 40
    picture = np.full((8 * scale, 8 * scale), 220, np.uint8)
    picture[scale:-scale, scale:-scale] = 30
    flat = np.float32([[scale, scale], [7 * scale, scale], [7 * scale, 7 * scale], [scale, 7 * scale]]) - np.float32(
        0.5
    )
    errors = []
    for _ in range(20):
        corners = np.float32([[60, 50], [92, 54], [88, 83], [57, 80]]) + rng.uniform(-2, 2, (4, 2)).astype(np.float32)
        fine = cv2.getPerspectiveTransform(flat, corners * 8 + np.float32(3.5))
        large = cv2.warpPerspective(picture, fine, (1200, 1120), borderValue=220)
        grey = cv2.resize(large, (150, 140), interpolation=cv2.INTER_AREA) + rng.normal(0, 4, (140, 150))
        found = refined_corners(cv2, grey.astype(np.float32), np.round(corners).astype(float), cells)
        errors.append(found - corners)
    assert np.abs(np.mean(errors)) < 0.02 and np.std(errors) < 0.06
    flat_grey = np.full((140, 150), 128, np.float32)
    assert refined_corners(cv2, flat_grey, np.float64([[60, 50], [92, 54], [88, 83], [57, 80]]), cells) is None


def test_what_lies_behind_the_camera_has_no_pose():
    rng = np.random.default_rng(3)
    behind = pose_of_several(cv2, rng.uniform(-1, 1, (8, 3)), rng.uniform(0, 640, (8, 2)), K)
    assert behind is None or behind.rms_px > 5.0
