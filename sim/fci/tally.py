"""How well a served world keeps up with time and its client."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

RATE_CYCLES = 100
"""The clock is read this rarely."""
RATE_S = 1.0


@dataclass
class Statistics:
    """Counters of one server."""

    real_time_factor: float = 1.0
    """Simulated over wall time during the last second."""
    commands_late: int = 0
    """Cycles in which the world waited more than a millisecond for the client's command."""
    commands_lost: int = 0
    """Cycles that went on without one."""
    _cycles: int = 0
    _since: tuple[float, int] = field(default_factory=lambda: (time.perf_counter(), 0))

    def count(self, time_ns: int) -> None:
        """A cycle is over at this simulated time."""
        self._cycles += 1
        if self._cycles % RATE_CYCLES:
            return
        now, (wall_s, simulated_ns) = time.perf_counter(), self._since
        if now - wall_s >= RATE_S:
            self.real_time_factor = (time_ns - simulated_ns) * 1e-9 / (now - wall_s)
            self._since = (now, time_ns)
