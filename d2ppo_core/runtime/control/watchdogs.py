"""What notices that somebody has gone quiet, the robot, the operator's hand, or the ticks, and what the robot says."""

import numpy as np

from d2ppo_core.geometry import Array
from d2ppo_core.runtime.control.arm_state import ArmMode
from d2ppo_core.runtime.control.protocols import ArmReading, RobotMode

_SLOW_M_S = 0.02
"""References slower than this may leave the measured joints as they are."""


_NEVER_NS = -(10**18)


def says_itself(reading: ArmReading, mode: ArmMode) -> tuple[ArmMode, str] | None:
    """Return the state, with its reason, that a robot's reading leads to from another one; None: it stays."""
    if mode == ArmMode.ESTOPPED:
        return None
    if reading.mode == RobotMode.REFLEX and mode != ArmMode.REFLEX:
        return ArmMode.REFLEX, f"the robot stopped itself: {reading.error or 'reflex'}; call recover"
    if reading.mode in (RobotMode.USER_STOPPED, RobotMode.GUIDING) and mode != ArmMode.USER_STOPPED:
        return ArmMode.USER_STOPPED, f"the robot is in {reading.mode.name.lower()}; targets dropped"
    if reading.mode in (RobotMode.IDLE, RobotMode.MOVE) and mode in (ArmMode.USER_STOPPED, ArmMode.REFLEX):
        return ArmMode.IDLE, "the robot is free again; call home"
    return None


class Freshness:
    """Notices states that stop, and states that repeat themselves while the arm is told to move."""

    def __init__(self, timeout_s: float) -> None:
        """States older than ``timeout_s`` count as lost."""
        self._timeout_s = timeout_s
        self._newest_ms = -1
        self._q_rad: Array | None = None
        self._seen_ns = self._moved_ns = self._last_ns = 0
        self._repeats = False

    def begin(self, now_ns: int) -> None:
        """Count from now on."""
        self._newest_ms, self._q_rad, self._repeats = -1, None, False
        self._seen_ns = self._moved_ns = self._last_ns = now_ns

    def see(self, reading: ArmReading, twist: Array, now_ns: int) -> None:
        """Take a reading and the twist that the arm is told to have."""
        if reading.robot_time_ms == self._newest_ms:
            return  # no new state: its age tells, and that its joints are the same tells nothing
        self._newest_ms, self._seen_ns = reading.robot_time_ms, now_ns
        # Measured joints never repeat to the last digit while the arm moves. Once they did for too long, only a change
        # shows that states are back; that the arm came to rest does not.
        rests = float(np.linalg.norm(twist[:3])) < _SLOW_M_S
        stalled = now_ns - self._last_ns > self._timeout_s * 1e9  # nobody looked meanwhile, or there was nothing new
        if self._q_rad is None or not np.array_equal(reading.q_rad, self._q_rad):
            self._repeats, self._moved_ns = False, now_ns
        elif (rests or stalled) and not self._repeats:
            self._moved_ns = now_ns
        else:
            self._repeats = (now_ns - self._moved_ns) * 1e-9 > self._timeout_s
        self._last_ns = now_ns
        self._q_rad = reading.q_rad

    def lost_s(self, now_ns: int) -> float | None:
        """Return the age of the newest state in s when it is too old, else None."""
        age_s = (now_ns - min(self._seen_ns, self._moved_ns)) * 1e-9
        return age_s if age_s > self._timeout_s else None


class DeadmanSwitch:
    """A switch that must be held: a message counts for a while, a release at once."""

    def __init__(self, timeout_s: float, needed: bool = True) -> None:
        """One message of the held switch counts for ``timeout_s``; where it is not needed, it hinders nobody."""
        self._timeout_s, self._needed = timeout_s, needed
        self._last_ns = _NEVER_NS

    def hear(self, held: bool, now_ns: int) -> None:
        """Take a message."""
        self._last_ns = now_ns if held else _NEVER_NS

    def held(self, now_ns: int) -> bool:
        """Return whether the switch is held."""
        return (now_ns - self._last_ns) * 1e-9 <= self._timeout_s

    def lets(self, now_ns: int) -> bool:
        """Return whether chunks count: the switch is held, or not needed."""
        return not self._needed or self.held(now_ns)


class TickCount:
    """Counts ticks, and those missed: periods of the schedule that passed without one."""

    def __init__(self, rate_hz: float) -> None:
        """Expect ticks at this rate."""
        self._rate_hz = rate_hz
        self._schedule: tuple[int, int] | None = None
        self.ticks = self.missed = 0

    def count(self, now_ns: int, expected: bool = True) -> None:
        """Take a tick; after one that nobody expected, the next one begins a schedule of its own."""
        if not expected:
            self._schedule = None
            return
        first_ns, last = self._schedule or (now_ns, 0)
        period = int((now_ns - first_ns) * 1e-9 * self._rate_hz + 1e-6)
        self.ticks, self.missed = self.ticks + 1, self.missed + max(0, period - last - 1)
        self._schedule = (first_ns, period)
