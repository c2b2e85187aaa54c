"""Keeps a loop at real time: never faster, and without catching up in a burst."""

from __future__ import annotations

import time


class Pacer:
    """Absolute deadlines, one per cycle; a long stall is forgiven except for a few milliseconds."""

    def __init__(self, period_s: float, slack_s: float = 5e-3) -> None:
        """Begin the first cycle now; a stall beyond `slack_s` is not caught up."""
        self._period_s, self._slack_s = period_s, slack_s
        self._deadline_s = time.perf_counter()

    def next(self) -> float:
        """Deadline of the cycle that begins, on time.perf_counter's clock."""
        now = time.perf_counter()
        self._deadline_s = max(self._deadline_s + self._period_s, now - self._slack_s)
        return self._deadline_s
