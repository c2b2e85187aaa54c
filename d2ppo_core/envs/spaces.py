"""What an observation or an action may be; the little of Gymnasium's spaces that is needed, without Gymnasium."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Box:
    """Arrays of one shape and type with bounds, which may be infinite."""

    low: float
    high: float
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __post_init__(self) -> None:
        """Raise ValueError when the bounds are the wrong way round, or not numbers."""
        if not self.low <= self.high:
            raise ValueError(f"low must not exceed high, got {self.low} and {self.high}")

    def contains(self, value: NDArray[Any]) -> bool:
        """Whether `value` has this shape and type and lies within the bounds."""
        fits = value.shape == self.shape and value.dtype == self.dtype
        return fits and bool(np.all(value >= self.low) and np.all(value <= self.high))

    def batched(self, count: int) -> Box:
        """The space of `count` values, stacked."""
        return Box(low=self.low, high=self.high, shape=(count, *self.shape), dtype=self.dtype)

    def sample(self, rng: np.random.Generator) -> NDArray[Any]:
        """A random value; unbounded sides count as ±1."""
        low = max(self.low, -1.0) if np.isinf(self.low) else self.low
        high = min(self.high, 1.0) if np.isinf(self.high) else self.high
        return rng.uniform(low, high, self.shape).astype(self.dtype)
