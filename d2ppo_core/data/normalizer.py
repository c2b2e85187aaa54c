"""Min-max normalisation to [-1, 1], measured once on the training data and kept with the policy."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from d2ppo_core.errors import DataError

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Range:
    """Affine map per dimension: normalised = (raw - center) / half, both (D,), half > 0."""

    center: Float32
    half: Float32

    def __post_init__(self) -> None:
        """Raise DataError for shapes that differ, numbers that are not finite or halves <= 0."""
        if self.center.ndim != 1 or self.center.shape != self.half.shape:
            raise DataError(f"wanted center and half (D,), got {self.center.shape} and {self.half.shape}")
        if not (np.isfinite(self.center).all() and np.isfinite(self.half).all() and (self.half > 0).all()):
            raise DataError(f"wanted finite centers and positive halves, got {self.center} and {self.half}")

    @classmethod
    def measure(cls, values: npt.ArrayLike, *, min_range: float) -> "Range":
        """Fit minimum and maximum of values (N, D).

        Dimensions that span less than `min_range` (constant ones too) are centred and scaled as if they spanned
        that much, so that a small deviation at run time stays small. Raises DataError on values that are not finite.
        """
        data = np.asarray(values, dtype=np.float64)
        if data.ndim != 2 or not len(data):
            raise DataError(f"wanted values (N, D) with N >= 1, got {data.shape}")
        if not np.isfinite(data).all():
            raise DataError("the dataset holds values that are not finite")
        low, high = data.min(0), data.max(0)
        half = np.maximum(high - low, min_range) / 2
        return cls(((low + high) / 2).astype(np.float32), half.astype(np.float32))

    def normalize(self, raw: npt.ArrayLike) -> Float32:
        """(…, D) raw units -> (…, D) in [-1, 1] within the measured range."""
        return ((np.asarray(raw, dtype=np.float32) - self.center) / self.half).astype(np.float32)

    def denormalize(self, normalized: npt.ArrayLike) -> Float32:
        """Inverse of `normalize`."""
        return (np.asarray(normalized, dtype=np.float32) * self.half + self.center).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Normalizer:
    """Ranges of the state vector and of single actions."""

    state: Range
    action: Range

    def to_mapping(self) -> dict[str, list[float]]:
        """Plain numbers for checkpoints; float32 survives the round trip exactly."""
        return {
            "state_center": self.state.center.tolist(),
            "state_half": self.state.half.tolist(),
            "action_center": self.action.center.tolist(),
            "action_half": self.action.half.tolist(),
        }

    @classmethod
    def from_mapping(cls, mapping: dict[str, Any]) -> "Normalizer":
        """Inverse of `to_mapping`."""

        def array(key: str) -> Float32:
            return np.asarray(mapping[key], dtype=np.float32)

        return cls(
            state=Range(array("state_center"), array("state_half")),
            action=Range(array("action_center"), array("action_half")),
        )
