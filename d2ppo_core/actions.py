"""Rotations in six numbers, and both representations of actions made of one another."""

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from d2ppo_core.geometry import Array
from d2ppo_core.representations import EE_ABSOLUTE, OSC_DELTA, ROTATION_SCALE_RAD, SIZES, TRANSLATION_SCALE_M

_DEGENERATE = 0.1
"""Columns of a rotation have length 1; of much shorter ones small errors decide the direction."""


def rotations_6d(rotations: Array) -> Array:
    """(…, 3, 3) rotation matrices to (…, 6): the first column, then the second."""
    return np.concatenate([rotations[..., 0], rotations[..., 1]], axis=-1)


def rotations_from_6d(six: npt.ArrayLike) -> tuple[Array, npt.NDArray[np.bool_]]:
    """(…, 6) to the rotation matrices (…, 3, 3) that Gram and Schmidt make of them, and (…,) which ones are any.

    Numbers that are not finite, too short or (almost) parallel are no rotation; theirs is the identity.
    """
    numbers = np.asarray(six, np.float64)
    finite: npt.NDArray[np.bool_] = np.asarray(np.isfinite(numbers).all(axis=-1))
    safe = np.where(finite[..., None], numbers, 0.0)
    first, first_m = _unit(safe[..., :3])
    second, second_m = _unit(safe[..., 3:] - first * np.sum(first * safe[..., 3:], axis=-1, keepdims=True))
    valid = np.asarray(finite & (first_m >= _DEGENERATE) & (second_m >= _DEGENERATE))
    matrices = np.stack([first, second, np.cross(first, second)], axis=-1)
    return np.where(valid[..., None, None], matrices, np.eye(3)), valid


def goals_from_deltas(actions: Array, positions_m: Array, rotations: Array, R_world_base: Array) -> Array:
    """What the controller makes of osc_delta actions: its goals, as ee_absolute actions.

    Args:
        actions: (N, 7 A) of A arms; entries beyond ±1 are clipped, as the controller does.
        positions_m: (N, A, 3) of the grip sites when the actions are given, world frame.
        rotations: (N, A, 3, 3) of the hands, likewise.
        R_world_base: (A, 3, 3) of the robots' bases.

    Returns:
        (N, 10 A).
    """
    deltas = np.asarray(actions, np.float64).reshape(*positions_m.shape[:2], SIZES[OSC_DELTA])
    motion = deltas[..., :6].clip(-1.0, 1.0)
    moved = np.einsum("aij,naj->nai", R_world_base, motion[..., :3]) * TRANSLATION_SCALE_M
    turned = np.einsum("aij,naj->nai", R_world_base, motion[..., 3:]) * ROTATION_SCALE_RAD
    goals = Rotation.from_rotvec(turned.reshape(-1, 3)).as_matrix().reshape(rotations.shape) @ rotations
    parts = [positions_m + moved, rotations_6d(goals), deltas[..., 6:]]
    return np.concatenate(parts, axis=-1).reshape(len(deltas), -1)


def deltas_from_goals(goals: Array, positions_m: Array, rotations: Array, R_world_base: Array) -> Array:
    """The osc_delta actions that bring these goals about, from where the arms are now; shapes as `goals_from_deltas`.

    What does not fit into [−1, 1] is lost. A rotation that is none asks for no turn: the arm keeps its own.
    """
    wanted = np.asarray(goals, np.float64).reshape(*positions_m.shape[:2], SIZES[EE_ABSOLUTE])
    matrices, valid = rotations_from_6d(wanted[..., 3:9])
    turns = np.where(valid[..., None, None], matrices @ np.swapaxes(rotations, -1, -2), np.eye(3))
    turned = Rotation.from_matrix(turns.reshape(-1, 3, 3)).as_rotvec().reshape(positions_m.shape)
    motion = [(wanted[..., :3] - positions_m) / TRANSLATION_SCALE_M, turned / ROTATION_SCALE_RAD]
    local = [np.einsum("aji,naj->nai", R_world_base, part).clip(-1.0, 1.0) for part in motion]
    return np.concatenate([*local, wanted[..., 9:]], axis=-1).reshape(len(wanted), -1)


def _unit(vectors: Array) -> tuple[Array, Array]:
    """Vectors (…, 3) of length 1 and the lengths (…,) before; zero stays zero."""
    lengths = np.linalg.norm(vectors, axis=-1)
    return vectors / np.maximum(lengths, 1e-12)[..., None], lengths
