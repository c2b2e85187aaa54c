"""Comparisons of seven floats with their limits, every millisecond: loops over lists beat array arithmetic here."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


def inside(values: Vector, limit: list[float]) -> bool:
    """Tell whether no magnitude exceeds its limit and none is NaN."""
    for value, most in zip(values.tolist(), limit, strict=True):
        if not -most <= value <= most:
            return False
    return True


def between(values: Vector, low: Vector, high: Vector) -> bool:
    """Tell whether every value is within its bounds and none is NaN."""
    for value, least, most in zip(values.tolist(), low.tolist(), high.tolist(), strict=True):
        if not least <= value <= most:
            return False
    return True
