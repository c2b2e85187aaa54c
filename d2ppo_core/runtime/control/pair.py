"""Several arms that work together: none goes on alone, an emergency stop of one is that of all. No ROS, no clock."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum

from d2ppo_core.errors import RobotError
from d2ppo_core.runtime.control.arm import ArmMode

_FOLLOWING = (ArmMode.RUNNING, ArmMode.HOLDING)
HOMING = "homing"
_UNHEARD = "waits until every arm has said something and can be called"


class PairMode(IntEnum):
    """What the arms do together."""

    WAITING = 0
    """At least one says nothing."""
    IDLE = 1
    READY = 2
    """All of them hold their pose and may start."""
    STARTING = 3
    RUNNING = 4
    ESTOPPED = 5


class Order(Enum):
    """What has to be done about the arms now."""

    NONE = "none"
    STOP = "stop"
    """Stop every arm that moves."""
    ESTOP = "estop"
    """Press the common emergency stop."""


@dataclass(frozen=True, kw_only=True)
class _Heard:
    mode: ArmMode
    reason: str
    epoch: int
    at_ns: int


class PairWatch:
    """Judges what the arms say of themselves. Times are those of one clock, in ns."""

    def __init__(self, names: Sequence[str], *, silence_s: float, start_s: float = 2.0, grace_s: float = 0.2) -> None:
        """Wait for all arms.

        Args:
            names: The arms.
            silence_s: An arm that says nothing for longer has gone.
            start_s: Time in which all arms have to run after a start.
            grace_s: After a stop, and after an emergency stop is cleared, states that were sent before may arrive for
                so long.
        """
        self.names = tuple(names)
        self.reason = _UNHEARD
        self._heard: dict[str, _Heard] = {}
        self._silence_ns, self._start_ns, self._grace_ns = (round(t * 1e9) for t in (silence_s, start_s, grace_s))
        self._together = False
        self._starting_until_ns = self._cleared_until_ns = -1
        self._alone_since_ns: int | None = None
        self._epochs_before_home: dict[str, int] = {}
        self._estopped = False

    def hear(self, name: str, mode: ArmMode, reason: str, epoch: int, now_ns: int) -> None:
        """Take note of an arm's state."""
        self._heard[name] = _Heard(mode=mode, reason=reason, epoch=epoch, at_ns=now_ns)

    def mode_of(self, name: str) -> ArmMode | None:
        """What an arm said last, None when it said nothing yet."""
        heard = self._heard.get(name)
        return None if heard is None else heard.mode

    def mode(self, now_ns: int) -> PairMode:
        """What the arms do together."""
        if self._estopped:
            return PairMode.ESTOPPED
        if any(self._is_silent(name, now_ns) for name in self.names):
            return PairMode.WAITING
        if self._together:
            return PairMode.STARTING if self._starting_until_ns >= 0 else PairMode.RUNNING
        return PairMode.READY if all(self._is_ready(name) for name in self.names) else PairMode.IDLE

    def home(self) -> None:
        """All arms are about to go home: only one in a new epoch is ready again."""
        self.end(HOMING)
        self._epochs_before_home = {name: heard.epoch for name, heard in self._heard.items()}

    def _is_ready(self, name: str) -> bool:
        heard = self._heard[name]
        return heard.mode == ArmMode.READY and heard.epoch != self._epochs_before_home.get(name)

    def begin(self, now_ns: int) -> None:
        """All arms are about to be started.

        Raises:
            RobotError: not all of them are ready; the message says what they are.
        """
        mode = self.mode(now_ns)
        if mode != PairMode.READY:
            raise RobotError(f"start needs READY; together the arms are {mode.name}: {self.describe(now_ns)}")
        self._together, self._starting_until_ns = True, now_ns + self._start_ns
        self.reason = "starting"

    def end(self, reason: str) -> None:
        """The arms are stopped."""
        self._together, self._starting_until_ns = False, -1
        self._epochs_before_home = {}
        self.reason = reason

    def estop(self, reason: str = "emergency stop") -> None:
        """The emergency stop was pressed; it stays so until ``clear``."""
        if not self._estopped:
            self._estopped = True
            self.end(reason)

    def clear(self, now_ns: int) -> None:
        """The emergency stop is cleared, for all arms at once.

        Raises:
            RobotError: it is not pressed.
        """
        if not self._estopped:
            raise RobotError("there is no emergency stop to clear")
        self._estopped, self._cleared_until_ns = False, now_ns + self._grace_ns
        self.reason = "emergency stop cleared; call home"

    def look(self, now_ns: int) -> Order:
        """What has to be done now; ``reason`` says why. A stop is ordered once, what led to it is then over."""
        present = {name: self._heard[name] for name in self.names if not self._is_silent(name, now_ns)}
        if self._estopped:
            return Order.ESTOP if any(heard.mode != ArmMode.ESTOPPED for heard in present.values()) else Order.NONE
        for name, heard in present.items():
            if heard.mode == ArmMode.ESTOPPED and now_ns > self._cleared_until_ns:
                self.estop(f"{name}: {heard.reason}")
                return Order.ESTOP
        if self._together:
            return self._look_at_partners(now_ns)
        mode = self.mode(now_ns)
        if mode == PairMode.IDLE and self.reason == _UNHEARD:
            self.reason = "call home"
        elif mode == PairMode.READY and self.reason in (HOMING, _UNHEARD):
            self.reason = "call start"
        return self._look_for_loners([name for name, heard in present.items() if heard.mode in _FOLLOWING], now_ns)

    def _look_for_loners(self, loners: list[str], now_ns: int) -> Order:
        """An arm that somebody started by itself, or that did not stop when it should have."""
        if not loners:
            self._alone_since_ns = None
        elif self._alone_since_ns is None:
            self._alone_since_ns = now_ns
        elif now_ns - self._alone_since_ns > self._grace_ns:
            self._alone_since_ns = None
            self.end(f"{', '.join(loners)} moved alone; stopped")
            return Order.STOP
        return Order.NONE

    def _look_at_partners(self, now_ns: int) -> Order:
        starting = self._starting_until_ns >= 0
        fine = (ArmMode.RUNNING, ArmMode.READY) if starting else (ArmMode.RUNNING,)
        for name in self.names:
            heard = self._heard[name]
            if self._is_silent(name, now_ns):
                self.end(f"{name} says nothing for {(now_ns - heard.at_ns) * 1e-9:.2f} s; all arms stopped")
                return Order.STOP
            if heard.mode not in fine:
                self.end(f"{name} is {heard.mode.name} ({heard.reason}); all arms stopped")
                return Order.STOP
        if all(self._heard[name].mode == ArmMode.RUNNING for name in self.names):
            if starting:
                self._starting_until_ns, self.reason = -1, "all arms follow chunks"
        elif now_ns > self._starting_until_ns:
            self.end("not all arms have started; all arms stopped")
            return Order.STOP
        return Order.NONE

    def describe(self, now_ns: int) -> str:
        """Return what each arm says, in one line."""
        parts = []
        for name in self.names:
            heard = self._heard.get(name)
            silent = self._is_silent(name, now_ns)
            parts.append(f"{name} silent" if heard is None or silent else f"{name} {heard.mode.name} ({heard.reason})")
        return ", ".join(parts)

    def _is_silent(self, name: str, now_ns: int) -> bool:
        heard = self._heard.get(name)
        return heard is None or now_ns - heard.at_ns > self._silence_ns
