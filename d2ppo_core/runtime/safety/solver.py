"""The nearest step that rows of limits allow."""

import numpy as np

from d2ppo_core.geometry import Array

_TOLERANCE = 1e-12
_ROUNDS = 24


def nearest_step(wanted: Array, slopes: Array, most: Array) -> tuple[Array, list[int]]:
    """Return the step nearest to the wanted one of which no row allows less, and which rows hold it back.

    Near is measured in shares of what is wanted: a pure translation is cut, not turned into a rotation that would let
    it go on, and the other way round. Where several limits meet, it slides along all of them.

    Args:
        wanted: (6,) translation and rotation vector.
        slopes: (M, 6).
        most: (M,) greatest value of ``slopes @ step``.

    Returns:
        The step and the indices of its active rows. When no nearest step is found, a shortened one is returned.
    """
    linear, angular = float(wanted[:3] @ wanted[:3]), float(wanted[3:] @ wanted[3:])
    floor = 1e-4 * max(linear, angular) + 1e-16
    weights = np.repeat((linear + floor, angular + floor), 3)
    scale = 1.0 / np.sqrt(np.maximum((slopes * slopes) @ weights, 1e-30))  # rows of length 1 in this measure
    rows, bounds = slopes * scale[:, None], most * scale
    step = wanted
    active: list[int] = []
    for _ in range(_ROUNDS):
        excess = rows @ step - bounds
        worst = int(np.argmax(excess))
        if excess[worst] <= _TOLERANCE * (1.0 + abs(float(bounds[worst]))):
            return step, active
        if worst in active:
            break
        active.append(worst)
        step, active = _on_boundary(wanted, rows, bounds, weights, active)
    return _shortened(wanted, slopes, most)


def _on_boundary(
    wanted: Array, rows: Array, bounds: Array, weights: Array, active: list[int]
) -> tuple[Array, list[int]]:
    """Nearest step on the boundary of the active rows; those that would pull instead of hold are let go."""
    while True:
        normals = rows[active]
        gram = (normals * weights) @ normals.T
        gram[np.diag_indices_from(gram)] += 1e-13
        forces = np.linalg.solve(gram, normals @ wanted - bounds[active])
        weakest = int(np.argmin(forces))
        if forces[weakest] >= 0.0 or len(active) == 1:
            return wanted - weights * (normals.T @ forces), active
        active = active[:weakest] + active[weakest + 1 :]


def _shortened(wanted: Array, slopes: Array, most: Array) -> tuple[Array, list[int]]:
    """The wanted step, cut until every row allows it; not at all where one allows nothing."""
    excess = slopes @ wanted
    rows = np.flatnonzero(excess > np.maximum(most, 0.0))
    if not len(rows):
        return wanted, []
    return wanted * float((np.maximum(most[rows], 0.0) / excess[rows]).min()), rows.tolist()
