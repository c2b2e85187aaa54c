"""Polynomials that take a motion over a seam or to rest without a step of position, velocity or acceleration."""

from dataclasses import dataclass

import numpy as np

from d2ppo_core.errors import ConfigError
from d2ppo_core.geometry import Array

_GROWTH = 1.2
"""Factor between two durations that are tried."""

_PLACES = np.linspace(0.0, 1.0, 17)
_POWERS = np.arange(6)
_ACCELERATION = _POWERS * (_POWERS - 1) * _PLACES[:, None] ** np.maximum(_POWERS - 2, 0)
_JERK = _POWERS * (_POWERS - 1) * (_POWERS - 2) * _PLACES[:, None] ** np.maximum(_POWERS - 3, 0)


@dataclass(frozen=True, kw_only=True)
class BlendLimits:
    """What seams and stops may add to a motion.

    Attributes:
        shortest_s: Least duration of a seam.
        longest_s: Greatest duration of a seam; a jump too big for it goes beyond the other limits. No longer than
            chunks are apart: a seam that outlasts its chunk makes the motion lag.
        stop_s: Least duration of a stop.
        longest_stop_s: Greatest duration of a stop.
        acceleration_m_s2: Greatest acceleration that is added.
        jerk_m_s3: Greatest jerk that is added.
        acceleration_rad_s2: The same for the rotation.
        jerk_rad_s3: The same for the rotation.
    """

    shortest_s: float = 0.1
    longest_s: float = 0.2
    stop_s: float = 0.1
    longest_stop_s: float = 0.5
    acceleration_m_s2: float = 4.0
    jerk_m_s3: float = 150.0
    acceleration_rad_s2: float = 16.0
    jerk_rad_s3: float = 600.0

    def __post_init__(self) -> None:
        """Raise ConfigError for bounds that are not positive, or the wrong way round."""
        for name, least, most in (("", self.shortest_s, self.longest_s), ("stop", self.stop_s, self.longest_stop_s)):
            if not 0.0 < least <= most:
                words = (f"{name}_s", f"longest_{name}_s") if name else ("shortest_s", "longest_s")
                raise ConfigError(f"blends need 0 < {words[0]} <= {words[1]}, got {least} and {most}")
        bounds = (self.acceleration_m_s2, self.jerk_m_s3, self.acceleration_rad_s2, self.jerk_rad_s3)
        if min(bounds) <= 0.0:
            raise ConfigError(f"accelerations and jerks of blends must be positive, got {bounds}")


class Blend:
    """A vector (6,) that runs over ``duration_s``; before and after it the ends count."""

    def __init__(self, coefficients: Array, duration_s: float) -> None:
        """Take coefficients (6, 6): row k belongs to (time / duration)^k."""
        self._coefficients, self.duration_s = coefficients, duration_s

    def at(self, time_s: float) -> tuple[Array, Array, Array]:
        """Return value, rate and acceleration, each (6,)."""
        c, duration_s = self._coefficients, self.duration_s
        s = min(max(time_s / duration_s, 0.0), 1.0)
        value = c[0] + s * (c[1] + s * (c[2] + s * (c[3] + s * (c[4] + s * c[5]))))
        if s >= 1.0:
            return value, np.zeros(6), np.zeros(6)
        rate = c[1] + s * (2.0 * c[2] + s * (3.0 * c[3] + s * (4.0 * c[4] + s * 5.0 * c[5])))
        acceleration = 2.0 * c[2] + s * (6.0 * c[3] + s * (12.0 * c[4] + s * 20.0 * c[5]))
        return value, rate / duration_s, acceleration / duration_s**2


def hermite5(step: Array, v0: Array, v1: Array, a0: Array, a1: Array) -> Array:
    """Coefficients (6, …) of the quintic from 0 to ``step`` over unit time with these rates and accelerations."""
    return np.stack(
        [
            np.zeros_like(step),
            v0,
            0.5 * a0,
            10.0 * step - 6.0 * v0 - 4.0 * v1 - 1.5 * a0 + 0.5 * a1,
            -15.0 * step + 8.0 * v0 + 7.0 * v1 + 1.5 * a0 - a1,
            6.0 * step - 3.0 * v0 - 3.0 * v1 - 0.5 * a0 + 0.5 * a1,
        ]
    )


def seam(offset: Array, rate: Array, acceleration: Array, limits: BlendLimits) -> Blend:
    """Fade an offset (6,) with this rate and acceleration to nothing, as fast as the limits let it."""
    if not (offset.any() or rate.any() or acceleration.any()):
        return Blend(np.zeros((6, 6)), limits.shortest_s)
    durations = _durations(limits.shortest_s, limits.longest_s)
    h = durations[:, None]
    zero = np.zeros((len(durations), 6))
    coefficients = hermite5(zero - offset, h * rate, zero, h * h * acceleration, zero)
    coefficients[0] = offset
    return _first_within(coefficients, durations, acceleration, limits)


def stop(rate: Array, acceleration: Array, limits: BlendLimits) -> Blend:
    """Lose a rate (6,) and an acceleration; the value is the way moved meanwhile."""
    durations = _durations(limits.stop_s, limits.longest_stop_s)
    h = durations[:, None]
    v, a = h * rate, h * h * acceleration
    zero = np.zeros_like(v)
    coefficients = np.stack([zero, v, 0.5 * a, -v - 2.0 / 3.0 * a, 0.5 * v + 0.25 * a, zero])
    return _first_within(coefficients, durations, acceleration, limits)


def _durations(shortest_s: float, longest_s: float) -> Array:
    count = 1 + int(np.ceil(np.log(longest_s / shortest_s) / np.log(_GROWTH) - 1e-9))
    return np.asarray(np.minimum(shortest_s * _GROWTH ** np.arange(count), longest_s))


def _first_within(coefficients: Array, durations: Array, start: Array, limits: BlendLimits) -> Blend:
    """The shortest of the blends (6, durations, 6) within the limits, else the one that exceeds them least."""
    h = durations[:, None, None]
    accelerations = np.einsum("sk,kdi->dsi", _ACCELERATION, coefficients) / h**2
    jerks = np.einsum("sk,kdi->dsi", _JERK, coefficients) / h**3
    excess = np.zeros(len(durations))
    bounds = ((limits.acceleration_m_s2, limits.jerk_m_s3), (limits.acceleration_rad_s2, limits.jerk_rad_s3))
    for part, (most, most_jerk) in zip((slice(0, 3), slice(3, 6)), bounds, strict=True):
        carried = max(most, float(np.linalg.norm(start[part])))  # what the motion brings along is no fault of a blend
        excess = np.maximum(excess, np.linalg.norm(accelerations[..., part], axis=2).max(axis=1) / carried)
        excess = np.maximum(excess, np.linalg.norm(jerks[..., part], axis=2).max(axis=1) / most_jerk)
    within = np.flatnonzero(excess <= 1.0)
    best = int(within[0]) if len(within) else int(np.argmin(excess))
    return Blend(coefficients[:, best], float(durations[best]))
