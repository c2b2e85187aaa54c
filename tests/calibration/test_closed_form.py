import numpy as np
import pytest

from calibration.chain import moved
from calibration.closed_form import hand_eye_start, inverses, nearest_to_all

from .synthetic import T_BASE_BOARD, T_EE_CAMERA, camera_poses, error_of, inverse


def perfect(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    board_camera = camera_poses(np.random.default_rng(seed), count)
    return T_BASE_BOARD @ board_camera @ inverse(T_EE_CAMERA), inverses(board_camera)


def test_without_noise_the_start_is_the_truth() -> None:
    X, Z = hand_eye_start(*perfect(0, 6))
    assert error_of(X) == pytest.approx((0, 0), abs=1e-4)
    assert error_of(Z, T_BASE_BOARD) == pytest.approx((0, 0), abs=1e-4)


def test_a_fifth_of_nonsense_hardly_moves_it() -> None:
    rng = np.random.default_rng(1)
    hands, boards = perfect(1, 15)
    for view in (2, 7, 11):
        hands[view] = moved(hands[view], np.append(rng.normal(0, 0.2, 3), rng.normal(0, 0.5, 3)))
    X, Z = hand_eye_start(hands, boards)
    assert error_of(X)[0] < 2.0 and error_of(X)[1] < 0.3
    assert error_of(Z, T_BASE_BOARD)[0] < 5.0


def test_inverses_undo_and_the_nearest_to_all_is_one_of_the_many() -> None:
    hands, _ = perfect(2, 5)
    assert inverses(hands) @ hands == pytest.approx(np.broadcast_to(np.eye(4), (5, 4, 4)), abs=1e-12)
    many = np.stack([np.eye(4)] * 3 + [hands[0]] + [hands[1]])
    assert nearest_to_all(many) in (0, 1, 2)
