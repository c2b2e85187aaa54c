"""The operator's speed scale: how fast a chunk's own time passes, changed smoothly while the arm moves."""

from dataclasses import dataclass
from math import exp

from d2ppo_core.errors import ConfigError

_PER_S = 10.0
"""Rate at which the scale follows its setting: 1 % of a change is left after 0.66 s, whatever the change."""

_KEPT_NS = 10_000_000_000
"""How far back chunks may ask; no chunk is that old."""


@dataclass(frozen=True)
class _Change:
    """From ``since_ns`` on the scale goes to ``goal``, from where it was with this error and rate."""

    since_ns: int
    goal: float
    error: float
    rate: float

    def at(self, now_ns: int) -> tuple[float, float]:
        """Scale and its rate: the critically damped answer to a step, which never overshoots."""
        t = (now_ns - self.since_ns) * 1e-9
        slope = self.rate + _PER_S * self.error
        fading = exp(-_PER_S * t)
        return self.goal + (self.error + slope * t) * fading, (self.rate - _PER_S * slope * t) * fading

    def way_s(self, begin_ns: int, end_ns: int) -> float:
        """Scaled time between two times of this change."""
        return self.goal * (end_ns - begin_ns) * 1e-9 + self._transient_s(end_ns) - self._transient_s(begin_ns)

    def _transient_s(self, now_ns: int) -> float:
        t = (now_ns - self.since_ns) * 1e-9
        slope = self.rate + _PER_S * self.error
        return -((self.error + slope / _PER_S) / _PER_S + slope / _PER_S * t) * exp(-_PER_S * t)


class SpeedScale:
    """Scaled time: it passes ``scale`` times as fast as the clock, and is continuous in scale and acceleration.

    A chunk keeps its path and is driven along it more slowly; at 0 the arm stands, still following its chunk.
    """

    def __init__(self, scale: float = 1.0) -> None:
        """Begin with a scale in [0, 1]; raises ConfigError for another one."""
        self._changes = [_Change(0, _checked(scale), 0.0, 0.0)]

    @property
    def setting(self) -> float:
        """The scale that was asked for last."""
        return self._changes[-1].goal

    def set(self, scale: float, now_ns: int) -> None:
        """Go to another scale in [0, 1] from now on; raises ConfigError for another one."""
        if _checked(scale) == self.setting:
            return
        now_ns = max(now_ns, self._changes[-1].since_ns)
        value, rate = self._changes[-1].at(now_ns)
        self._changes.append(_Change(now_ns, scale, value - scale, rate))
        while len(self._changes) > 2 and self._changes[1].since_ns < now_ns - _KEPT_NS:
            del self._changes[0]

    def at(self, now_ns: int) -> tuple[float, float]:
        """Return scale and its rate in 1/s."""
        last = self._changes[-1]
        return last.at(max(now_ns, last.since_ns))

    def elapsed_s(self, since_ns: int, now_ns: int) -> float:
        """Return the scaled time between two times."""
        if since_ns > now_ns:
            return -self.elapsed_s(now_ns, since_ns)
        total_s, end_ns = 0.0, now_ns
        for i in range(len(self._changes) - 1, -1, -1):
            change = self._changes[i]
            begin_ns = max(since_ns, change.since_ns) if i else since_ns
            if begin_ns < end_ns:
                total_s += change.way_s(begin_ns, end_ns)
                end_ns = begin_ns
        return total_s


def _checked(scale: float) -> float:
    if not 0.0 <= scale <= 1.0:
        raise ConfigError(f"speed_scale must lie in [0, 1], got {scale}")
    return scale
