"""Statistics of a feature, per episode and joined, as LeRobot stores them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

QUANTILES = (0.01, 0.10, 0.50, 0.90, 0.99)
MAX_PICTURES = 32
"""Of an episode, evenly spread: neighbouring pictures hardly differ."""

Stats = Mapping[str, NDArray[Any]]


def vector_stats(values: NDArray[Any]) -> Stats:
    """Minimum, maximum, mean, standard deviation, quantiles (D,) and count (1,) of values (T, D)."""
    return _stats(np.asarray(values, np.float64), count=len(values))


def picture_stats(pictures: NDArray[np.uint8]) -> Stats:
    """The same per channel of pictures (T, H, W, 3), of shape (3, 1, 1), for intensities in [0, 1]."""
    chosen = np.unique(np.linspace(0, len(pictures) - 1, min(len(pictures), MAX_PICTURES)).astype(int))
    stats = _stats(pictures[chosen].reshape(-1, 3) / 255.0, count=len(chosen))
    return {key: value if key == "count" else value[:, None, None] for key, value in stats.items()}


def joined_stats(parts: Sequence[Stats]) -> Stats:
    """Statistics of all parts together; exact but for the quantiles, which are averaged as LeRobot does."""
    counts = np.array([part["count"][0] for part in parts], np.float64)

    def weighted(values: Sequence[NDArray[Any]]) -> NDArray[Any]:
        return np.asarray(np.average(np.stack(values), axis=0, weights=counts))

    mean = weighted([part["mean"] for part in parts])
    variance = weighted([part["std"] ** 2 + (part["mean"] - mean) ** 2 for part in parts])
    return {
        "min": np.min([part["min"] for part in parts], axis=0),
        "max": np.max([part["max"] for part in parts], axis=0),
        "mean": mean,
        "std": np.sqrt(variance),
        "count": np.array([int(counts.sum())]),
        **{_name(q): weighted([part[_name(q)] for part in parts]) for q in QUANTILES},
    }


def _stats(values: NDArray[np.float64], *, count: int) -> Stats:
    quantiles = np.quantile(values, QUANTILES, axis=0)
    return {
        "min": values.min(axis=0),
        "max": values.max(axis=0),
        "mean": values.mean(axis=0),
        "std": values.std(axis=0),
        "count": np.array([count]),
        **{_name(q): quantile for q, quantile in zip(QUANTILES, quantiles, strict=True)},
    }


def _name(quantile: float) -> str:
    return f"q{round(100 * quantile):02d}"
