"""The stack's time inside a callback, where a simulated clock stands still because nobody serves ``/clock``."""

import time
from collections import deque
from collections.abc import Callable

_WINDOW_NS = 1_000_000_000
_LEAST_NS = 50_000_000


class CallbackClock:
    """Reads a clock when a callback begins, and goes on from there as fast as that clock ran during the last second.

    On a robot the stack's clock is the machine's and is read as it is. A simulated one runs at a pace of its own: what
    a steady clock measures inside the callback is scaled by that pace, so that it compares with the stamps of others.
    """

    def __init__(self, read_ns: Callable[[], int], steady_ns: Callable[[], int] = time.perf_counter_ns) -> None:
        """Take the stack's clock and a steady one."""
        self._read_ns, self._steady_ns = read_ns, steady_ns
        self._seen: deque[tuple[int, int]] = deque()
        self._began_ns = self._began_steady_ns = self._base_ns = 0

    def begin(self, at_least_ns: int = 0) -> int:
        """Begin a callback and return its time.

        Args:
            at_least_ns: Stamp of what arrived; ``/clock`` comes in steps and may lag behind what it stamped.
        """
        self._began_ns, self._began_steady_ns = self._read_ns(), self._steady_ns()
        if self._seen and self._began_ns < self._seen[-1][0]:  # the world began anew
            self._seen.clear()
        self._seen.append((self._began_ns, self._began_steady_ns))
        while self._began_steady_ns - self._seen[0][1] > _WINDOW_NS and len(self._seen) > 2:
            self._seen.popleft()
        self._base_ns = max(self._began_ns, at_least_ns)
        return self._base_ns

    @property
    def rate(self) -> float:
        """How fast the stack's clock ran lately, as a multiple of real time; 1 before that is known."""
        if not self._seen:
            return 1.0
        (first_ns, first_steady_ns), (last_ns, last_steady_ns) = self._seen[0], self._seen[-1]
        steady_ns = last_steady_ns - first_steady_ns
        return (last_ns - first_ns) / steady_ns if steady_ns > _LEAST_NS else 1.0

    def now_ns(self) -> int:
        """Return the time since ``begin``, on the stack's clock; it never goes back within a callback."""
        read_ns = self._read_ns()
        if read_ns != self._began_ns:  # a clock that runs by itself
            return max(read_ns, self._base_ns)
        return self._base_ns + round((self._steady_ns() - self._began_steady_ns) * self.rate)
