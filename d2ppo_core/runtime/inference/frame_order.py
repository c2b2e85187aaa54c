"""Frames in the order of their capture, whichever message arrived first."""

from collections.abc import Iterator
from typing import Any


class FrameOrder:
    """Keeps pictures, and whatever else is seen, until all of an instant is there and each arm has told a later state.

    The state nearest to the capture is known then, so that an observation does not depend on what came when.
    """

    def __init__(self, sources: tuple[str, ...], num_arms: int = 1) -> None:
        """Expect something from each of these sources, e.g. cameras; without any, the arms' states are the frames."""
        self._sources = sources
        self._frames: dict[int, dict[str, Any]] = {}
        self._arms_ns = [-1] * num_arms
        self._last_ns = -1

    def push(self, source: str, stamp_ns: int, part: Any) -> None:
        """Take what a source saw; what comes after a newer frame has gone is dropped."""
        if stamp_ns > self._last_ns:
            self._frames.setdefault(stamp_ns, {})[source] = part

    def push_arm(self, stamp_ns: int, arm: int = 0) -> None:
        """Take note of a state of an arm; a clock that jumps back forgets what waits."""
        if stamp_ns < self._arms_ns[arm]:
            self.clear()
        self._arms_ns[arm] = stamp_ns
        if not self._sources and stamp_ns > self._last_ns:
            self._frames[stamp_ns] = {}

    def ready(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Capture and parts of each frame that is complete, oldest first; incomplete older ones are dropped."""
        for stamp_ns in sorted(self._frames):
            if stamp_ns > min(self._arms_ns):
                return
            if set(self._sources) <= set(self._frames[stamp_ns]):
                parts = self._frames[stamp_ns]
                self._frames = {stamp: kept for stamp, kept in self._frames.items() if stamp > stamp_ns}
                self._last_ns = stamp_ns
                yield stamp_ns, parts

    def clear(self) -> None:
        """Forget what waits."""
        self._frames.clear()
        self._arms_ns, self._last_ns = [-1] * len(self._arms_ns), -1
