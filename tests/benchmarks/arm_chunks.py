"""What bench_arm.py drives the arm with: a smooth motion over the workspace, told by a policy that is never sure."""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from d2ppo_core.runtime.control.chunk import TimedChunk

BUNDLE = "bench"
COUNT, DT_S = 16, 0.05
LATENCY_S = 0.06
"""Age of the observation when its chunk arrives."""
_EASE_S = 2.5
_STEP_S = 1e-3

CENTRE_M = np.array([0.48, 0.0, 0.17])
WAVES_M = np.array([[0.07, 0.11], [0.18, 0.13], [0.08, 0.23]])
"""Amplitude (m) and frequency (Hz) along x, y and z; together up to 0.2 m/s."""
WAVES_RAD = np.array([[0.20, 0.17], [0.20, 0.12], [0.40, 0.19]])
"""The same about x, y and z."""

FAST_M_S = 0.12
"""A reference faster than this is at speed."""


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Standard deviations: of each target, and of a whole chunk, which is the jump at its seam."""

    target_m: float = 1e-3
    jump_m: float = 3e-3
    target_rad: float = 0.0
    jump_rad: float = 0.0

    @classmethod
    def of(cls, options: argparse.Namespace) -> "Noise":
        """As the command line says."""
        return cls(target_rad=1e-3 * options.target_mrad, jump_rad=1e-3 * options.jump_mrad)


class NoisyPolicy:
    """Chunks along waves that grow out of a pose at rest."""

    def __init__(
        self, start: np.ndarray, noise: Noise, rng: np.random.Generator, upright: np.ndarray | None = None
    ) -> None:
        """Begin at the 4×4 pose `start`, somewhere in the waves; they turn about the rotation `upright` (3×3).

        None is that of the start. One policy after the other would wander off without it.
        """
        self._start, self._noise, self._rng = start, noise, rng
        turned = start[:3, :3] if upright is None else upright
        self._middle = np.concatenate(
            [CENTRE_M - start[:3, 3], Rotation.from_matrix(turned @ start[:3, :3].T).as_rotvec()]
        )
        self._phases = rng.uniform(0.0, 2.0 * np.pi, 6)
        self._sequence = 0

    def way(self, times_s: np.ndarray) -> np.ndarray:
        """Offset (N, 6) from the start, m and rotation vector, at times since the beginning."""
        s = np.clip(times_s / _EASE_S, 0.0, 1.0)[:, None]
        waves = np.vstack([WAVES_M, WAVES_RAD])
        offset = waves[:, 0] * np.sin(2.0 * np.pi * waves[:, 1] * times_s[:, None] + self._phases)
        return s**3 * (10.0 - 15.0 * s + 6.0 * s**2) * (offset + self._middle)

    def chunk(self, time_s: float, now_ns: int, epoch: int) -> TimedChunk:
        """What the policy says `time_s` after the beginning, made from what was LATENCY_S ago."""
        noise, rng = self._noise, self._rng
        times_s = time_s - LATENCY_S + DT_S * np.arange(COUNT)
        way, before, after = self.way(times_s), self.way(times_s - _STEP_S), self.way(times_s + _STEP_S)
        turns = Rotation.from_rotvec(after[:, 3:]) * Rotation.from_rotvec(before[:, 3:]).inv()
        twists = np.hstack([after[:, :3] - before[:, :3], turns.as_rotvec()]) / (2.0 * _STEP_S)
        twists[-1] = 0.0
        way[:, :3] += rng.normal(0.0, noise.jump_m, 3) + rng.normal(0.0, noise.target_m, (COUNT, 3))
        shaken = Rotation.from_rotvec(
            rng.normal(0.0, noise.jump_rad, 3) + rng.normal(0.0, noise.target_rad, (COUNT, 3))
        )
        turned = shaken * Rotation.from_rotvec(way[:, 3:]) * Rotation.from_matrix(self._start[:3, :3])
        self._sequence += 1
        return TimedChunk(
            stamp_ns=now_ns - round(1e9 * LATENCY_S),
            dt_ns=round(1e9 * DT_S),
            sequence=self._sequence,
            epoch=epoch,
            bundle_hash=BUNDLE,
            positions_m=self._start[:3, 3] + way[:, :3],
            quats_xyzw=turned.as_quat(),
            twists=twists,
            gripper_width_m=np.full(COUNT, 0.04),
        )


def periods(kind: str, rng: np.random.Generator) -> Iterator[float]:
    """Times between two chunks, s, for ever: `alternating` between 10 and 20 Hz, or `random` between them."""
    while True:
        if kind == "random":
            yield 1.0 / rng.uniform(10.0, 20.0)
        else:
            yield from (0.1, 0.05)
