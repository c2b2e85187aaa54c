"""A start for the hand-eye chain without a guess: AX = XB over all pairs of views, by least absolute deviations.

Rotation and translation are solved one after the other (Park and Martin, IEEE T-RA 10(5), 1994); each pair weighs
the less the worse it fits, so that views which contradict the others hardly count.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from d2ppo_core.geometry import Array

_ROUNDS = 30
_LONGEST_RAD = 2.8
"""Near half a turn the axis of a rotation may as well point the other way."""
_LEAST_RAD, _LEAST_M = 1e-4, 1e-5


def inverses(transforms: Array) -> Array:
    """Invert rigid transforms (N, 4, 4)."""
    result = np.zeros_like(transforms)
    turned = transforms[:, :3, :3].transpose(0, 2, 1)
    result[:, :3, :3], result[:, 3, 3] = turned, 1.0
    result[:, :3, 3] = -np.einsum("nij,nj->ni", turned, transforms[:, :3, 3])
    return result


def hand_eye_start(hands: Array, boards: Array) -> tuple[Array, Array]:
    """Return X and Z (4, 4) with hands[i] @ X @ boards[i] = Z for most of the views.

    Args:
        hands: (N, 4, 4), three or more.
        boards: T_camera_board, (N, 4, 4).
    """
    first, second = np.triu_indices(len(hands), 1)
    A = inverses(hands)[second] @ hands[first]
    B = boards[second] @ inverses(boards)[first]
    X = np.eye(4)
    X[:3, :3] = _rotation(A[:, :3, :3], B[:, :3, :3])
    X[:3, 3] = _translation(A, B, X[:3, :3])
    candidates = hands @ X @ boards
    return X, candidates[nearest_to_all(candidates)]


def _rotation(A: Array, B: Array) -> Array:
    a, b = Rotation.from_matrix(A).as_rotvec(), Rotation.from_matrix(B).as_rotvec()
    usable = np.maximum(np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)) < _LONGEST_RAD
    if usable.sum() >= 3:
        a, b = a[usable], b[usable]
    weights, R = np.ones(len(a)), np.eye(3)
    for _ in range(_ROUNDS):
        U, _, Vt = np.linalg.svd((weights[:, None] * a).T @ b)
        R = U @ np.diag((1.0, 1.0, np.linalg.det(U @ Vt))) @ Vt
        weights = 1.0 / np.maximum(np.linalg.norm(a - b @ R.T, axis=1), _LEAST_RAD)
    return np.asarray(R)


def _translation(A: Array, B: Array, R: Array) -> Array:
    left, right = A[:, :3, :3] - np.eye(3), B[:, :3, 3] @ R.T - A[:, :3, 3]
    weights, t = np.ones(len(A)), np.zeros(3)
    for _ in range(_ROUNDS):
        weighted = left * weights[:, None, None]
        t = np.linalg.lstsq(
            np.einsum("nij,nik->jk", weighted, left), np.einsum("nij,ni->j", weighted, right), rcond=None
        )[0]
        weights = 1.0 / np.maximum(np.linalg.norm(left @ t - right, axis=1), _LEAST_M)
    return np.asarray(t)


def nearest_to_all(transforms: Array) -> int:
    """Return which of some transforms is nearest to all others; a radian counts as half a metre."""
    rows = np.hstack((transforms[:, :3, 3], 0.35 * transforms[:, :3, :3].reshape(-1, 9)))
    return int(np.argmin(np.linalg.norm(rows[:, None] - rows[None], axis=2).sum(axis=1)))
