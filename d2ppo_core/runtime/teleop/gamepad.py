"""A gamepad by Linux' event interface: the bytes of /dev/input/event…, 24 for each event."""

import struct
from collections.abc import Mapping

import numpy as np

from d2ppo_core.runtime.teleop.sample import Button, Sample

EVENT = struct.Struct("@llHHi")
"""Kernel's ``struct input_event``: seconds, microseconds, type, code, value."""
SYN, KEY, ABS = 0, 1, 3
"""Types of events."""
SYN_REPORT, SYN_DROPPED = 0, 3
LEFT_X, LEFT_Y, RIGHT_X, RIGHT_Y, RIGHT_TRIGGER, HAT_X, HAT_Y = 0, 1, 3, 4, 5, 16, 17
"""Codes of axes, as the kernel's drivers give them to all pads."""
SOUTH, EAST, NORTH, WEST, LEFT_SHOULDER, RIGHT_SHOULDER = 0x130, 0x131, 0x133, 0x134, 0x136, 0x137
SELECT, START, MODE, LEFT_STICK, RIGHT_STICK = 0x13A, 0x13B, 0x13C, 0x13D, 0x13E
"""Codes of buttons."""

DEADMAN, TURNS = RIGHT_SHOULDER, LEFT_SHOULDER
BUTTONS = {SOUTH: Button.GRIPPER, EAST: Button.DISCARD, NORTH: Button.SUCCESS, WEST: Button.FAILURE,
           START: Button.START, SELECT: Button.STOP, MODE: Button.HOME, LEFT_STICK: Button.FRAME,
           RIGHT_STICK: Button.LOCK}  # fmt: skip
HATS = {(HAT_Y, -1): Button.FASTER, (HAT_Y, 1): Button.SLOWER, (HAT_X, 1): Button.EPISODE, (HAT_X, -1): Button.RECOVER}

RANGES: Mapping[int, tuple[int, int]] = {
    **dict.fromkeys((LEFT_X, LEFT_Y, RIGHT_X, RIGHT_Y), (-32768, 32767)),
    RIGHT_TRIGGER: (0, 255),
}
"""Least and greatest value of axes, where the device does not say (a file)."""

HELP = """hold the right shoulder button: left stick forward and sideways · right stick up, down and yaw
left shoulder held: the left stick pitches and rolls · right trigger closes the gripper, A toggles it
pad up, down: speed · pad right: new episode · pad left: recover · Y success · X failure · B discard
Start start · Select stop · Home home · left stick pressed: frame · right stick pressed: lock"""


def event(kind: int, code: int, value: int) -> bytes:
    """Return the bytes of one event, for tests and programs that play a pad."""
    return EVENT.pack(0, 0, kind, code, value)


class GamepadParser:
    """Sticks, triggers and buttons out of events; they count from their report's end on."""

    def __init__(self, ranges: Mapping[int, tuple[int, int]] = RANGES) -> None:
        """Take the axes' ranges."""
        self._ranges = {**RANGES, **ranges}
        self._rest = b""
        self._pressed: list[Button] = []
        self.reset()

    def reset(self) -> None:
        """Let go of everything."""
        self._axes: dict[int, float] = {}
        self._held: set[int] = set()
        self._dropping = False
        self._opening: float | None = None

    def feed(self, data: bytes, now_s: float) -> None:
        """Take bytes of events."""
        self._rest += data
        whole = len(self._rest) // EVENT.size * EVENT.size
        for _, _, kind, code, value in EVENT.iter_unpack(self._rest[:whole]):
            self._take(kind, code, value)
        self._rest = self._rest[whole:]

    def sample(self, now_s: float) -> Sample:
        """Return what is held now."""
        axis = self._axes.get
        deflection, turns = np.zeros(6), TURNS in self._held
        forward, left = -axis(LEFT_Y, 0.0), -axis(LEFT_X, 0.0)
        deflection[4 if turns else 0], deflection[3 if turns else 1] = forward, -left if turns else left
        deflection[2], deflection[5] = -axis(RIGHT_Y, 0.0), -axis(RIGHT_X, 0.0)
        pressed, self._pressed = tuple(self._pressed), []
        return Sample(held=DEADMAN in self._held, deflection=deflection, opening=self._opening, pressed=pressed)

    def _take(self, kind: int, code: int, value: int) -> None:
        if (kind, code) == (SYN, SYN_DROPPED):  # the kernel lost events: what is held is not known
            self.reset()
            self._dropping = True
        elif (kind, code) == (SYN, SYN_REPORT):
            self._dropping = False
        elif self._dropping:
            return
        elif kind == KEY:
            self._key(code, value)
        elif kind == ABS and code in (HAT_X, HAT_Y):
            self._press(HATS.get((code, value)))
        elif kind == ABS and code in self._ranges:
            self._move(code, value)

    def _key(self, code: int, value: int) -> None:
        if value == 0:
            self._held.discard(code)
        elif value == 1:
            self._held.add(code)
            self._press(BUTTONS.get(code))

    def _press(self, button: Button | None) -> None:
        if button is not None:
            self._pressed.append(button)
        if button is Button.GRIPPER:
            self._opening = None  # the toggle counts until the trigger moves

    def _move(self, code: int, value: int) -> None:
        low, high = self._ranges[code]
        share = min(max((value - low) / (high - low), 0.0), 1.0)
        if code == RIGHT_TRIGGER:
            self._opening = 1.0 - share
        else:
            self._axes[code] = 2.0 * share - 1.0
