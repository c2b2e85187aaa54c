"""Keys of a terminal: it tells of presses and repeats, never of a release; a key that stops repeating was let go."""

import re

import numpy as np

from d2ppo_core.runtime.teleop.sample import Button, Sample

MOVES_S = 0.15
"""How long one press moves. Terminals repeat a held key every 30 to 100 ms, after a first pause of 250 to 660 ms."""
HOLDS_S = 0.7
"""How long one press holds the dead-man switch, beyond that first pause: a hand that only taps keeps the arm."""

AXES = {"w": (0, 1), "s": (0, -1), "a": (1, 1), "d": (1, -1), "r": (2, 1), "f": (2, -1),
        "u": (3, -1), "o": (3, 1), "i": (4, 1), "k": (4, -1), "j": (5, 1), "l": (5, -1)}  # fmt: skip
"""Key: number and sign of what it deflects fully."""
HOLD = "h"
"""Holds the arm without moving it."""
BUTTONS = {" ": Button.GRIPPER, "+": Button.FASTER, "-": Button.SLOWER, "t": Button.FRAME, "g": Button.LOCK,
           "\r": Button.START, "\n": Button.START, "\x1b": Button.STOP, "H": Button.HOME, "R": Button.RECOVER,
           "E": Button.ESTOP, "b": Button.EPISODE, "y": Button.SUCCESS, "n": Button.FAILURE,
           "\x7f": Button.DISCARD}  # fmt: skip

PASTE, PASTED = "\x1b[200~", "\x1b[201~"
"""Around pasted text, in a terminal that was asked to say so."""
_KEY = re.compile(r"\x1b(?:\[[^@-~]*[@-~]?|O.?)|.", re.DOTALL)

HELP = """hold down: w s forward back · a d left right · r f up down · i k pitch · j l yaw · u o roll · h still
space gripper · + - speed · t frame · g lock · Enter start · Esc stop · H home · R recover · E emergency stop
b new episode · y success · n failure · Backspace discard · Ctrl-C ends"""


class KeyboardParser:
    """Keys as a terminal sends them, one byte each; escape sequences of other keys are ignored."""

    def __init__(self) -> None:
        """Begin with nothing pressed."""
        self.reset()
        self._pressed: list[Button] = []
        self._pasting = False

    def reset(self) -> None:
        """Let go of everything."""
        self._moved_s: dict[int, tuple[float, int]] = {}
        self._held_s = float("-inf")

    def feed(self, data: bytes, now_s: float) -> None:
        """Take what was typed."""
        for key in _keys(data):
            if key in (PASTE, PASTED):
                self._pasting = key == PASTE
            elif self._pasting:  # text that slipped out of a clipboard would home and start an arm
                continue
            elif key in AXES:
                axis, sign = AXES[key]
                self._moved_s[axis] = now_s, sign
                self._held_s = now_s
            elif key == HOLD:
                self._held_s = now_s
            elif key in BUTTONS:
                self._pressed.append(BUTTONS[key])
                if BUTTONS[key] in (Button.STOP, Button.ESTOP):
                    self.reset()

    def sample(self, now_s: float) -> Sample:
        """Return what is held now."""
        deflection = np.zeros(6)
        for axis, (since_s, sign) in self._moved_s.items():
            if now_s - since_s <= MOVES_S:
                deflection[axis] = sign
        pressed, self._pressed = tuple(self._pressed), []
        return Sample(held=now_s - self._held_s <= HOLDS_S, deflection=deflection, pressed=pressed)


def _keys(data: bytes) -> list[str]:
    """Return the keys one by one; a sequence that an escape begins, as of an arrow, is one."""
    return _KEY.findall(data.decode("latin-1"))
