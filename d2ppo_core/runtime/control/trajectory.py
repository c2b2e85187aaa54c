"""The curve along a chunk's targets: pose, twist and acceleration at any time."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.spatial.transform import Rotation

from d2ppo_core.geometry import Array, RigidState, moved_by
from d2ppo_core.runtime.control.blend import BlendLimits, hermite5, stop
from d2ppo_core.runtime.control.chunk import TimedChunk

_CUTOFF_RAD_S = 30.0
"""Wiggles faster than this are smoothed out; an arm under impedance control follows half of that."""

_LAST = 100.0
"""Weight of the last target beside the others: there the arm comes to rest."""


@dataclass(frozen=True)
class Motion(RigidState):
    """Pose, twist and their acceleration (6,): linear m/s², angular rad/s²; all in the base frame."""

    acceleration: Array


class ChunkCurve:
    """Quintic pieces along the targets, without steps of acceleration.

    Targets and twists are followed as far as they go together: where they wiggle faster than an arm could, as noisy
    ones do, the curve of least jerk near them is taken, without a lag. Before its first target the curve is there
    already; past its last one it loses what speed it still has.
    """

    def __init__(self, chunk: TimedChunk, limits: BlendLimits | None = None) -> None:
        """Lay the curve along a chunk that is well-formed; the limits are for a stop past its last target."""
        self._period_s = period_s = chunk.dt_ns * 1e-9
        self._last = len(chunk.positions_m) - 1
        rotations = Rotation.from_quat(chunk.quats_xyzw)
        turns = (rotations[1:] * rotations[:-1].inv()).as_rotvec() if self._last else np.zeros((0, 3))
        way = np.zeros((self._last + 1, 6))
        way[:, :3] = chunk.positions_m - chunk.positions_m[0]
        way[1:, 3:] = np.cumsum(turns, axis=0)
        smooth = _smoother(self._last + 1, period_s, not chunk.twists[-1].any()) @ np.vstack(
            [way, chunk.twists * period_s]
        )
        p, v, a = smooth.reshape(3, self._last + 1, 6)
        self._poses = np.tile(np.eye(4), (self._last + 1, 1, 1))
        self._poses[:, :3, 3] = chunk.positions_m[0] + p[:, :3]
        shifted = Rotation.from_rotvec(p[:, 3:] - way[:, 3:]) * rotations
        self._poses[:, :3, :3] = shifted.as_matrix()
        self._pieces = np.zeros((6, 0, 6))
        if self._last:
            turns = (shifted[1:] * shifted[:-1].inv()).as_rotvec()
            self._pieces = hermite5(np.hstack([np.diff(p[:, :3], axis=0), turns]), v[:-1], v[1:], a[:-1], a[1:])
        self._tail = stop(v[-1] / period_s, a[-1] / period_s**2, limits or BlendLimits())

    def at(self, time_s: float) -> Motion:
        """Return the motion ``time_s`` after the first target."""
        place = max(time_s / self._period_s, 0.0)
        i = int(min(place, self._last))
        if i == self._last:
            way, rate, acceleration = self._tail.at(time_s - self._last * self._period_s)
            return Motion(moved_by(self._poses[i], way), rate, acceleration)
        s, c = place - i, self._pieces[:, i]
        way = s * (c[1] + s * (c[2] + s * (c[3] + s * (c[4] + s * c[5]))))
        rate = c[1] + s * (2.0 * c[2] + s * (3.0 * c[3] + s * (4.0 * c[4] + s * 5.0 * c[5])))
        acceleration = 2.0 * c[2] + s * (6.0 * c[3] + s * (12.0 * c[4] + s * 20.0 * c[5]))
        return Motion(moved_by(self._poses[i], way), rate / self._period_s, acceleration / self._period_s**2)


@lru_cache(maxsize=64)
def _smoother(count: int, period_s: float, rests: bool) -> Array:
    """(3 count, 2 count): from targets and twists to positions, rates and accelerations, all per period.

    Least squares of the distances to the targets, of the rates' and of the jerk of the pieces between. Weighing the
    square of the jerk by 1 / (cutoff · period)⁶ halves what oscillates at the cutoff, and leaves slower motion alone.
    One that ``rests`` at its end has no acceleration there.
    """
    if count == 1:
        return np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    weights = np.ones(count)
    weights[-1] = _LAST
    rows = [np.hstack([np.diag(weights), np.zeros((count, 2 * count))])]
    rows.append(np.hstack([np.zeros((count, count)), np.diag(weights), np.zeros((count, count))]))
    stiffness = (_CUTOFF_RAD_S * period_s) ** -3
    unit = np.eye(6)
    pieces = hermite5(unit[1] - unit[0], unit[2], unit[3], unit[4], unit[5])  # of both ends: p0 p1 v0 v1 a0 a1
    for place, share in zip((0.1127, 0.5, 0.8873), (5 / 18, 8 / 18, 5 / 18), strict=True):  # Gauss-Legendre
        jerk = share**0.5 * stiffness * (6.0 * pieces[3] + 24.0 * place * pieces[4] + 60.0 * place**2 * pieces[5])
        block = np.zeros((count - 1, 3 * count))
        i = np.arange(count - 1)
        for k in range(3):
            block[i, k * count + i], block[i, k * count + i + 1] = jerk[2 * k], jerk[2 * k + 1]
        rows.append(block)
    if rests:
        rows.append(_LAST * np.eye(1, 3 * count, 3 * count - 1))
    matrix = np.vstack(rows)
    wanted = np.zeros((len(matrix), 2 * count))
    wanted[: 2 * count] = np.diag(np.tile(weights, 2))
    return np.asarray(np.linalg.lstsq(matrix, wanted, rcond=None)[0])
