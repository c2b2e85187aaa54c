"""Faults on demand: what goes wrong between a robot, its hand and a client, for as long as somebody wants it to."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from d2ppo_core.errors import WorldError
from sim.fci.robot import Robot
from sim.fci.wire import Error

_MESSAGE_ID = struct.Struct("<Q")
ARM_FAULTS = {
    "lost_commands": ("commands never arrive", "share of them", 1.0),
    "late_commands": ("commands arrive later", "ms", 3.0),
    "reordered_commands": ("every second command arrives after its successor", "", math.nan),
    "lost_states": ("robot states never arrive", "share of them", 1.0),
    "state_frozen": ("robot states repeat the same values, only their clock goes on", "", math.nan),
    "clock_jump": ("the robot's clock is suddenly ahead", "s", 1.0),
    "network_cut": ("nothing passes in either direction, to arm and hand", "", math.nan),
    "reflex": ("the robot stops itself with a cartesian_reflex; any other of its 41 errors by its name", "", math.nan),
    "user_stop": ("the operator's stop button is pressed", "", math.nan),
    "guiding": ("somebody takes the arm by the hand", "", math.nan),
    "led_home": ("somebody leads the arm home by the hand, over whatever is in its way", "", math.nan),
}
HAND_FAULTS = {
    "gripper_blocked": ("something holds the fingers", "", math.nan),
    "gripper_slow": ("the fingers crawl", "share of the commanded speed", 0.1),
}
FAULTS = ARM_FAULTS | HAND_FAULTS
"""Name: what happens, what the amount means, its default."""
AT_ONCE = ("clock_jump", "reflex", "led_home")
CLEAR = "clear"


class Hand(Protocol):
    """Fingers that can fail."""

    blocked: bool
    speed_share: float


class Wire:
    """The way of states and commands, as the running faults make it."""

    def __init__(self, seed: int = 0) -> None:
        """Everything passes until somebody changes an attribute."""
        self.lost_commands, self.lost_states = 0.0, 0.0
        """Shares that vanish."""
        self.late_cycles = 0
        self.reordered = self.frozen = self.cut = False
        self._frozen_state = b""
        self._under_way: list[tuple[int, bytes]] = []
        self._newest, self._count = -1, 0
        self._rng = np.random.default_rng(seed)

    def outgoing(self, state: bytearray) -> bytes | bytearray | None:
        """What of a robot state the client gets; None when nothing."""
        if self.cut or (self.lost_states > 0.0 and self._rng.random() < self.lost_states):
            return None
        if not self.frozen:
            self._frozen_state = b""
            return state
        if not self._frozen_state:
            self._frozen_state = bytes(state)
        return bytes(state[: _MESSAGE_ID.size]) + self._frozen_state[_MESSAGE_ID.size :]

    def deliver(self, cycle: int, command: bytearray, arrived: bool) -> bool:
        """Tell whether a command reaches the robot in this cycle, which `command` then holds.

        Args:
            cycle: Number of the millisecond.
            command: What the client sent, if it `arrived`.
            arrived: Whether it sent any.
        """
        if not (self._under_way or self.late_cycles or self.reordered or self.lost_commands):
            return arrived and not self.cut
        if arrived and not self.cut and self._rng.random() >= self.lost_commands:
            self._count += 1
            due = cycle + self.late_cycles + (self.reordered and self._count % 2)
            self._under_way.append((due, bytes(command)))
        here = [packet for due, packet in self._under_way if due <= cycle]
        self._under_way = [entry for entry in self._under_way if entry[0] > cycle]
        if not here:
            return False
        newest = max(here, key=_message_id)
        if _message_id(newest) <= self._newest:
            return False
        self._newest = _message_id(newest)
        command[:] = newest
        return True

    def forget(self) -> None:
        """Drop what is under way: a new motion begins."""
        self._under_way, self._newest = [], -1


@dataclass
class _Running:
    stop: Callable[[], None]
    until_ns: float


class FaultInjector:
    """Starts faults and ends them when their time in simulated seconds is over. Call it in the robot's own thread."""

    def __init__(
        self, robot: Robot, wire: Wire, hand: Hand, jump_clock: Callable[[float], None], cut: Callable[[bool], None]
    ) -> None:
        """`jump_clock` takes seconds; `cut` silences whatever else shares the network."""
        self._robot, self._wire, self._hand, self._jump_clock, self._cut = robot, wire, hand, jump_clock, cut
        self._running: dict[str, _Running] = {}

    @property
    def running(self) -> tuple[str, ...]:
        """Names of the faults under way."""
        return tuple(self._running)

    def inject(self, fault: str, duration_s: float = 0.0, amount: float = 0.0) -> str:
        """Start a fault; returns what happens.

        Args:
            fault: A key of FAULTS, the name of an error (sim.fci.wire.Error), or "clear" to end all.
            duration_s: Simulated seconds; 0 means until "clear".
            amount: How much, as FAULTS says; 0 means its default.

        Raises:
            WorldError: there is no such fault, or not of this amount.
        """
        if fault == CLEAR:
            ended = self.running
            for name in ended:
                self._running.pop(name).stop()
            return f"ended {', '.join(ended)}" if ended else "no fault was running"
        error = Error.__members__.get(fault.upper())
        if error is not None:
            self._robot.reflex(error)
            return f"the robot stops itself: {fault}"
        if fault not in FAULTS:
            raise WorldError(f"no fault {fault!r}; known: {', '.join(FAULTS)}, {CLEAR}")
        if not (duration_s >= 0.0 and math.isfinite(amount)):
            raise WorldError(f"a fault lasts for 0 or more seconds, got {duration_s}, and takes a number, got {amount}")
        what, unit, default = FAULTS[fault]
        amount = amount or default
        running = self._running.pop(fault, None)
        if running is not None:
            running.stop()
        stop = self._start(fault, amount)
        size = f" ({unit}: {amount:g})" if unit else ""
        if stop is None:
            return f"{what}{size}"
        until_ns = self._robot.arm.time_ns + duration_s * 1e9 if duration_s else math.inf
        self._running[fault] = _Running(stop, until_ns)
        return f"{what}{size}, " + (f"for {duration_s:g} s" if duration_s else f"until {CLEAR!r}")

    def tick(self) -> None:
        """End what has lasted long enough; call it every millisecond."""
        if self._running:
            now_ns = self._robot.arm.time_ns
            for name in [name for name, running in self._running.items() if running.until_ns <= now_ns]:
                self._running.pop(name).stop()

    def _start(self, fault: str, amount: float) -> Callable[[], None] | None:
        wire, robot, hand = self._wire, self._robot, self._hand
        if fault in ("lost_commands", "lost_states", "gripper_slow") and not 0.0 <= amount <= 1.0:
            raise WorldError(f"{fault} takes a share in [0, 1], got {amount:g}")
        match fault:
            case "lost_commands" | "lost_states":
                return _set(wire, fault, amount, 0.0)
            case "late_commands":
                return _set(wire, "late_cycles", round(amount), 0)
            case "reordered_commands":
                return _set(wire, "reordered", True, False)
            case "state_frozen":
                return _set(wire, "frozen", True, False)
            case "gripper_blocked":
                return _set(hand, "blocked", True, False)
            case "gripper_slow":
                return _set(hand, "speed_share", amount, 1.0)
            case "network_cut":
                restore = _set(wire, "cut", True, False)
                self._cut(True)
                return lambda: (restore(), self._cut(False))[0]
            case "user_stop":
                robot.press_user_stop(True)
                return lambda: robot.press_user_stop(False)
            case "guiding":
                robot.guide(True)
                return lambda: robot.guide(False)
            case "led_home":
                task = robot.arm.task
                robot.place_arm(np.array(task.home_q_rad), task.start_width_m)
            case "clock_jump":
                self._jump_clock(amount)
            case "reflex":
                robot.reflex(Error.CARTESIAN_REFLEX)
        return None


def _set(target: object, name: str, value: object, back: object) -> Callable[[], None]:
    setattr(target, name, value)
    return lambda: setattr(target, name, back)


def _message_id(packet: bytes) -> int:
    return int(_MESSAGE_ID.unpack_from(packet)[0])
