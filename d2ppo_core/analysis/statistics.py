"""Intervals and percentiles as they stand in reports."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

_Z95 = 1.959963984540054


def wilson_interval(successes: int, trials: int, z: float = _Z95) -> tuple[float, float]:
    """Wilson score interval of a success rate (95 % by default).

    Raises:
        ValueError: successes is not within 0…trials.
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"successes must lie in 0..{trials}, got {successes}")
    if trials == 0:
        return 0.0, 1.0
    rate = successes / trials
    centre = (rate + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z * sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials)) / (1 + z * z / trials)
    return max(0.0, centre - half), min(1.0, centre + half)


def two_proportions(successes: int, trials: int, other_successes: int, other_trials: int) -> float:
    """Fisher's exact test: how probable two success rates differ by this much or more if nothing does.

    Raises:
        ValueError: successes are not within 0…trials.
    """
    from scipy.stats import fisher_exact  # a second to import

    for found, count in ((successes, trials), (other_successes, other_trials)):
        if not 0 <= found <= count:
            raise ValueError(f"successes must lie in 0..{count}, got {found}")
    table = [[successes, trials - successes], [other_successes, other_trials - other_successes]]
    return float(fisher_exact(table).pvalue)


def paired_proportions(only_first: int, only_second: int) -> float:
    """McNemar's exact test of two success rates over the same trials, from those that only one of the two solved.

    Raises:
        ValueError: a count is negative.
    """
    from scipy.stats import binomtest

    if min(only_first, only_second) < 0:
        raise ValueError(f"counts must not be negative, got {only_first} and {only_second}")
    return float(binomtest(only_first, only_first + only_second).pvalue) if only_first != only_second else 1.0


@dataclass(frozen=True)
class Spread:
    """Median, 99th percentile and maximum of some measurements, in their unit; NaN without any."""

    count: int
    p50: float
    p99: float
    maximum: float


def spread(values: Sequence[float]) -> Spread:
    """Summarise measurements."""
    if len(values) == 0:
        return Spread(0, float("nan"), float("nan"), float("nan"))
    p50, p99 = np.percentile(values, (50, 99))
    return Spread(len(values), float(p50), float(p99), float(np.max(values)))
