"""The Franka hand, through franky or a client with the same methods."""

import contextlib
import itertools
import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from d2ppo_core.compatibility import FRANKY, client_named
from d2ppo_core.drivers.connect_errors import not_connected, not_installed, one_line
from d2ppo_core.drivers.server_version import GRIPPER_PORT, server_version
from d2ppo_core.errors import ConfigError, RobotError
from d2ppo_core.runtime.control.protocols import GripperAct, GripperOrder, GripperOutcome, GripperReading

_PERIOD_S = 0.02
_RETRY_S = 0.1
_END_S = 2.0
"""How long closing waits for a command that blocks; its thread then ends by itself."""


@dataclass(frozen=True, kw_only=True)
class GripperConfig:
    """How the hand is driven.

    Attributes:
        address: Host name or address of the robot.
        speed_m_s: Speed of the fingers.
        force_n: Force of a grasp.
        close_below_m: Widths below this one close with force.
        grasp_above_m: Fingers that close to less than this have missed.
    """

    address: str
    speed_m_s: float = 0.1
    force_n: float = 30.0
    close_below_m: float = 0.005
    grasp_above_m: float = 0.002

    def __post_init__(self) -> None:
        """Raise ConfigError for a speed, force or width that the hand does not have."""
        bounds = {"speed_m_s": 0.1, "force_n": 70.0, "close_below_m": 0.04, "grasp_above_m": 0.04}
        for name, high in bounds.items():
            value = getattr(self, name)
            if not 0.0 < value <= high:
                raise ConfigError(f"gripper: {name} must lie in (0, {high}], got {value}")


def open_franky_hand(address: str) -> Any:
    """Connect to a hand through franky; RobotError when it is not installed or nobody answers as a hand does."""
    try:
        import franky
    except ImportError as error:
        raise not_installed(client_named(FRANKY), error) from error
    server_version(address, GRIPPER_PORT)
    return franky.Gripper(address)


class FrankaGripper:
    """The hand in a thread of its own, because its calls block for as long as the fingers move."""

    def __init__(self, config: GripperConfig, open_hand: Callable[[str], Any] = open_franky_hand) -> None:
        """Remember the configuration; nothing is opened yet.

        Args:
            config: Which hand, and how it is driven.
            open_hand: Connects to the hand at an address and returns it with the methods of ``franky.Gripper``.
        """
        self._config, self._open = config, open_hand
        self._session: _Session | None = None
        self._numbers = itertools.count(1)  # goes on over sessions: no order is taken for another one

    @property
    def reading(self) -> GripperReading:
        """The newest state; zeros without a connection."""
        return self._session.reading if self._session is not None else GripperReading()

    def connect(self) -> None:
        """Connect and start the thread; RobotUnreachableError when nobody answers, RobotError for the rest."""
        self.close()
        try:
            session = _Session(self._open(self._config.address), self._config, self._numbers)
        except RobotError:
            raise
        except Exception as error:
            raise not_connected("gripper", self._config.address, error) from error
        self._session = session
        session.start()

    def command(self, width_m: float) -> None:
        """Ask for an opening in m; the newest command replaces one that still runs. What is no number is ignored."""
        if self._session is not None and math.isfinite(width_m):
            act = GripperAct.GRASP if width_m < self._config.close_below_m else GripperAct.MOVE
            self._session.want(GripperOrder(act=act, width_m=width_m if act == GripperAct.MOVE else 0.0), again=False)

    def order(self, order: GripperOrder) -> int:
        """Do this once, even if it was done before; RobotError without a connection."""
        if self._session is None:
            raise RobotError(f"no gripper is connected at {self._config.address}")
        return self._session.want(order, again=True)

    def wait_for(self, time_ms: int, timeout_s: float) -> bool:
        """Wait until ``reading`` is of this time of the hand's clock or later; whether it is.

        From the first call on the hand's state is read as often as it comes: a simulated one tells it at every step.
        """
        return self._session is None or self._session.wait_for(time_ms, timeout_s)

    def wait_begun(self, timeout_s: float) -> bool:
        """Wait until the newest command is on its way; whether it is."""
        return self._session is None or self._session.wait_begun(timeout_s)

    @property
    def sent(self) -> int:
        """How many commands to move this connection has sent."""
        return 0 if self._session is None else self._session.sent

    def hold(self) -> None:
        """Stop fingers that move to an opening; a grasp, finished or not, keeps its force."""
        if self._session is not None:
            self._session.hold()

    def close(self) -> None:
        """End the thread and drop the connection; a thread that still waits for the hand ends with its answer."""
        session, self._session = self._session, None
        if session is not None:
            session.end()


_Wanted = tuple[GripperOrder, int]
"""What to do, and its number; a stream of openings that repeats itself is one order."""


class _Session:
    """One connection and its thread: a thread that outlives its connection can't disturb the next one."""

    def __init__(self, gripper: Any, config: GripperConfig, numbers: Iterator[int]) -> None:
        self._gripper, self._config, self._numbers = gripper, config, numbers
        self._wanted: _Wanted | None = None
        self._begun: _Wanted | None = None
        self._newest: _Wanted = GripperOrder(act=GripperAct.MOVE), 0
        self._running: Any = None
        self._grasping = self._holding = False
        self._lock = threading.Lock()
        self._news = threading.Condition()
        self._period_s, self.sent = _PERIOD_S, 0
        self._wake, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="franka-gripper", daemon=True)
        self.reading = GripperReading()
        self._read(GripperOutcome.NONE)

    def start(self) -> None:
        self._thread.start()

    def want(self, order: GripperOrder, *, again: bool) -> int:
        with self._lock:
            if self._wanted is None or again or order != self._wanted[0]:
                self._wanted = order, next(self._numbers)
            number = self._wanted[1]
        self._wake.set()
        return number

    def hold(self) -> None:
        with self._lock:
            self._wanted, self._holding = None, True
        self._wake.set()

    def wait_for(self, time_ms: int, timeout_s: float) -> bool:
        self._period_s = 0.0
        with self._news:
            return self._news.wait_for(lambda: self.reading.time_ms >= time_ms, timeout_s)

    def wait_begun(self, timeout_s: float) -> bool:
        with self._news:
            return self._news.wait_for(lambda: self._wanted == self._begun, timeout_s)

    def end(self) -> None:
        self._stop.set()
        self._wake.set()
        self._thread.join(timeout=_END_S)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.wait(timeout=self._period_s)
            self._wake.clear()
            try:
                self._step()
            except Exception as error:
                self.reading = self._failed(one_line(error))
                self._running = None
                self._stop.wait(_RETRY_S)
            with self._news:
                self._news.notify_all()
        self._finish()

    def _failed(self, fault: str) -> GripperReading:
        number = self._wanted[1] if self._wanted is not None else 0
        outcome, width_m = GripperOutcome.FAILED, self.reading.width_m
        return GripperReading(width_m=width_m, outcome=outcome, order=number, fault=fault)

    def _finish(self) -> None:
        """Let the connection go, but not under a command that still uses it."""
        with contextlib.suppress(Exception):
            if not self._grasping:
                self._interrupt()
            if self._running is not None:
                _result(self._running)
        self._running = self._gripper = None

    def _step(self) -> None:
        outcome = self.reading.outcome
        with self._lock:
            wanted, holding, self._holding = self._wanted, self._holding, False
        if holding:
            if not self._grasping:
                outcome = outcome if self._running is None else GripperOutcome.FAILED
                self._interrupt()
            self._begun = None  # whatever comes next is a new command
        if wanted != self._begun:  # still so after a command that failed to begin: it is tried again
            self._interrupt()
            self._grasping = wanted is not None and wanted[0].act == GripperAct.GRASP
            self._running = self._begin(wanted)
            self.sent += self._running is not None
            self._begun, outcome = wanted, GripperOutcome.MOVING
            self._newest = wanted or self._newest
        if self._running is not None and self._running.wait(0.0):
            outcome = self._outcome_of(self._running)
            self._running = None
        self._read(outcome)

    def _interrupt(self) -> None:
        if self._running is not None and not self._running.wait(0.0):
            self._gripper.stop()
            _result(self._running)
        self._running = None

    def _begin(self, wanted: _Wanted | None) -> Any:
        if wanted is None or self._stop.is_set():
            return None
        order, config = wanted[0], self._config
        if order.act == GripperAct.CALIBRATE:
            return self._gripper.homing_async()
        speed_m_s = order.speed_m_s or config.speed_m_s
        if order.act == GripperAct.MOVE:
            return self._gripper.move_async(order.width_m, speed_m_s)
        return self._gripper.grasp_async(
            order.width_m,
            speed_m_s,
            order.force_n or config.force_n,
            epsilon_inner=order.narrower_m,
            epsilon_outer=order.wider_m,
        )

    def _outcome_of(self, future: Any) -> GripperOutcome:
        if not self._grasping:
            return GripperOutcome.REACHED if _result(future) else GripperOutcome.FAILED
        _result(future)
        held = bool(self._gripper.state.is_grasped)
        return GripperOutcome.GRASPED if held else GripperOutcome.MISSED

    def _read(self, outcome: GripperOutcome) -> None:
        state, config = self._gripper.state, self._config
        width_m = float(state.width)
        if outcome == GripperOutcome.GRASPED and not (state.is_grasped and width_m > config.grasp_above_m):
            outcome = GripperOutcome.MISSED  # closed on nothing, or it slipped away
        order, number = self._newest
        told_n = order.force_n or config.force_n
        force_n = told_n if outcome == GripperOutcome.GRASPED else 0.0
        self.reading = GripperReading(
            width_m=width_m, force_n=force_n, outcome=outcome, order=number, time_ms=_time_ms(state)
        )


def _time_ms(state: Any) -> int:
    """The hand's clock as its client gives it: franky an object of its own, others seconds, or nothing."""
    time = getattr(state, "time", 0.0)
    return int(time.to_msec()) if hasattr(time, "to_msec") else round(1e3 * float(time))


def _result(future: Any) -> bool:
    """Collect the outcome of a finished command; a stopped one ends with an error that is expected."""
    try:
        return bool(future.get())
    except Exception:
        return False
