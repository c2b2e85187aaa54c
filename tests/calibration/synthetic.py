"""Captures whose truth is known: hands around a board, its corners in a camera, noise of pixels and of the hand."""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from calibration.board import Detection, cv_board
from calibration.chain import moved
from calibration.closed_form import inverses
from d2ppo_core.calibrated import Board, Intrinsics
from d2ppo_core.geometry import inverse, transform_from
from d2ppo_core.runtime.safety.kinematics import posture, solve_ik

BOARD = Board()
CAMERA = Intrinsics(
    width_px=640, height_px=480, fx_px=610.0, fy_px=608.0, cx_px=322.0, cy_px=238.0,
    distortion=(0.08, -0.15, 0.0005, -0.0004, 0.05),
)  # fmt: skip
T_EE_CAMERA = transform_from((0.06, -0.01, -0.05), Rotation.from_euler("xyz", (8.0, -5.0, 92.0), degrees=True))
T_BASE_BOARD = transform_from((0.42, 0.12, 0.01), Rotation.from_euler("xyz", (178.0, 1.0, -88.0), degrees=True))
CENTRE_M = np.array((BOARD.columns, BOARD.rows, 0)) * BOARD.square_m / 2
CORNERS_M = np.asarray(cv_board(BOARD).getChessboardCorners(), np.float64)
HAND = transform_from((0.0, 0.0, 0.1034), Rotation.from_euler("z", -45.0, degrees=True))
READY_RAD = np.array((0.0, -0.6, 0.0, -2.3, 0.0, 1.75, 0.785))


@dataclass
class Scene:
    """What a calibration gets (hands as measured, corners as seen), and the truth."""

    hands: np.ndarray
    detections: list[Detection]
    truth_hands: np.ndarray
    X: np.ndarray
    Z: np.ndarray
    names: list[str]


def camera_poses(rng: np.random.Generator, count: int, tilt_deg: float = 25.0, far_m=(0.35, 0.6)) -> np.ndarray:
    """T_board_camera (N, 4, 4): around the board's middle, all of it in the picture, tilted to all sides."""
    poses = []
    while len(poses) < count:
        tilt = Rotation.from_rotvec(np.radians(tilt_deg) * np.append(rng.uniform(-1.2, 1.2, 2), rng.uniform(-1.5, 1.5)))
        aim = CENTRE_M + np.append(rng.uniform(-0.03, 0.03, 2), 0.0)
        pose = transform_from(aim - tilt.apply((0.0, 0.0, rng.uniform(*far_m))), tilt)
        seen = corners_in(inverse(pose), CAMERA)
        if ((seen > 3) & (seen < (CAMERA.width_px - 4, CAMERA.height_px - 4))).all():
            poses.append(pose)
    return np.stack(poses)


def check_poses(rng: np.random.Generator, count: int = 3) -> np.ndarray:
    """T_board_camera (N, 4, 4) as the page asks for them: from above, then tilted to other sides and turned."""
    poses = []
    for number in range(count):
        side, tilt_rad = np.radians(90.0 * number + rng.uniform(-8, 8)), np.radians(rng.uniform(33, 40)) * (number > 0)
        turn = Rotation.from_rotvec((tilt_rad * np.cos(side), tilt_rad * np.sin(side), 0.0))
        turn = turn * Rotation.from_rotvec((0, 0, np.radians((0, 45, -45)[number % 3])))
        poses.append(transform_from(CENTRE_M - turn.apply((0, 0, rng.uniform(0.4, 0.5))), turn))
    return np.stack(poses)


def corners_in(T_camera_board: np.ndarray, camera: Intrinsics) -> np.ndarray:
    turn = Rotation.from_matrix(T_camera_board[:3, :3]).as_rotvec()
    return cv2.projectPoints(CORNERS_M, turn, T_camera_board[:3, 3], camera.K_camera, camera.coefficients)[0][:, 0]


def detections_of(rng: np.random.Generator, boards: np.ndarray, pixel_sd: float, camera: Intrinsics = CAMERA):
    ids = np.arange(len(CORNERS_M))
    noisy = [corners_in(board, camera) + rng.normal(0.0, pixel_sd, (len(ids), 2)) for board in boards]
    return [Detection(ids, pixels, CORNERS_M) for pixels in noisy]


def scene(
    seed: int, count: int = 15, *, pixel_sd: float = 0.3, hand_m: float = 0.0, hand_rad: float = 0.0,
    mount: str = "hand", tilt_deg: float = 25.0, checking: bool = False,
) -> Scene:  # fmt: skip
    """A capture; of `base` the same geometry the other way round: X is T_base_camera, Z is T_ee_board."""
    rng = np.random.default_rng(seed)
    board_camera = check_poses(rng, count) if checking else camera_poses(rng, count, tilt_deg)
    carried = T_BASE_BOARD @ board_camera @ inverse(T_EE_CAMERA)
    truth = carried if mount == "hand" else inverses(carried)
    noise = np.hstack((rng.normal(0, hand_m, (count, 3)), rng.normal(0, hand_rad, (count, 3))))
    hands = np.stack([moved(hand, step) for hand, step in zip(truth, noise, strict=True)])
    seen = detections_of(rng, inverses(board_camera), pixel_sd)
    return Scene(hands, seen, truth, T_EE_CAMERA, T_BASE_BOARD, [f"{i:02d}.png" for i in range(count)])


def joints_of(hands: np.ndarray) -> np.ndarray:
    """Joint angles (N, 7) for hands (N, 4, 4) that an arm reaches."""
    q = [solve_ik(hand, READY_RAD, HAND, steps=60) for hand in hands]
    assert all(np.allclose(posture(row, HAND).pose, hand, atol=1e-6) for row, hand in zip(q, hands, strict=True))
    return np.stack(q)


def error_of(X: np.ndarray, truth: np.ndarray = T_EE_CAMERA) -> tuple[float, float]:
    """Millimetres and degrees between two transforms."""
    off = inverse(truth) @ X
    return 1000 * float(np.linalg.norm(off[:3, 3])), float(np.degrees(Rotation.from_matrix(off[:3, :3]).magnitude()))
