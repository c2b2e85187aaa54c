"""A device's own clock, mapped to the host's: what it stamped first, and the host received later."""

from collections import deque

_WINDOW_NS = 5_000_000_000
_LATE_NS, _LATE_IN_A_ROW = 100_000_000, 5
_EARLY_NS = 1_000_000_000
"""A first frame may come late by less than that, so that the next ones seem early."""


class DeviceClock:
    """Takes the quickest delivery of the last seconds for one without delay.

    Deliveries are late by varying amounts, never early, so the least difference between arrival and device time is the
    offset of the clocks (with the shortest way of a frame, which is constant and belongs to the camera's latency).
    A window of 5 s follows a drift of 100 ppm within half a millisecond. What jumps begins anew, and is counted.
    """

    def __init__(self) -> None:
        """Know nothing yet."""
        self.jumps = 0
        """How often either clock was set."""
        self.restart()

    def restart(self) -> None:
        """Forget all but the count of jumps, as for a device that was connected anew."""
        self._least: deque[tuple[int, int]] = deque()
        self._last_ns: int | None = None
        self._late = 0
        self._began: tuple[int, int] | None = None

    @property
    def offset_ns(self) -> int:
        """Host time minus device time."""
        return self._least[0][1] if self._least else 0

    @property
    def drift_ppm(self) -> float:
        """How much faster the host's clock runs, by the offsets since the first window; 0 before there are two."""
        if self._began is None or not self._least:
            return 0.0
        began_ns, offset_ns = self._began
        elapsed_ns = self._least[-1][0] - began_ns
        return (self.offset_ns - offset_ns) / elapsed_ns * 1e6 if elapsed_ns > _WINDOW_NS else 0.0

    def host_ns(self, device_ns: int, arrival_ns: int) -> int:
        """Return when a frame was captured, in the host's time; never later than its arrival.

        Args:
            device_ns: As the device stamped it.
            arrival_ns: When the host received it.
        """
        delay_ns = arrival_ns - device_ns
        if self._jumped(device_ns, delay_ns):
            self.jumps += 1
            self.restart()
        self._last_ns = device_ns
        while self._least and self._least[0][0] < arrival_ns - _WINDOW_NS:
            self._least.popleft()
        while self._least and self._least[-1][1] >= delay_ns:
            self._least.pop()
        self._least.append((arrival_ns, delay_ns))
        if self._began is None:
            self._began = arrival_ns, delay_ns
        elif arrival_ns < self._began[0] + _WINDOW_NS:  # the first window's least
            self._began = self._began[0], min(self._began[1], delay_ns)
        return device_ns + self.offset_ns

    def _jumped(self, device_ns: int, delay_ns: int) -> bool:
        """Whether a clock was set: backward at once, the host's forward once frames keep being late."""
        if self._last_ns is None:
            return False
        excess_ns = delay_ns - self.offset_ns if self._least else 0
        self._late = self._late + 1 if excess_ns > _LATE_NS else 0
        return device_ns < self._last_ns or excess_ns < -_EARLY_NS or self._late >= _LATE_IN_A_ROW
