"""A SpaceMouse by its raw HID reports, as /dev/hidraw… delivers them: one per read, no library between."""

import struct

import numpy as np

from d2ppo_core.runtime.teleop.sample import Button, Sample

FULL = 350.0
"""Counts of full deflection."""
TRANSLATION, ROTATION, PRESSES = 1, 2, 3
"""First byte of a report: what it tells."""
HELD_FROM = 0.04
"""Deflection from which a hand is on the cap: the cap is the dead-man switch."""
LINGERS_S = 0.3
"""So long the cap may pass through its centre without being let go."""
SILENCE_S = 0.15
"""A deflected cap reports every 8 to 30 ms; one that says nothing for so long has been cut off."""

BUTTONS = {0: Button.GRIPPER, 1: Button.START, 12: Button.SUCCESS, 13: Button.FAILURE, 14: Button.EPISODE,
           15: Button.DISCARD, 22: Button.STOP, 24: Button.FRAME, 25: Button.LOCK, 26: Button.HOME}  # fmt: skip
"""By bit of the report; beyond the first two those of the large models: 1 2 3 4, Esc, Shift, Ctrl, rotation lock."""

HELP = """the cap is the dead-man switch: push, lift and turn it; let go and the arm holds
left button gripper · right button start · large models: 1 success · 2 failure · 3 new episode · 4 discard · Esc stop"""


def report(translation: tuple[int, int, int], rotation: tuple[int, int, int]) -> bytes:
    """Return one report of all six axes, as newer models send it: right, back, down and the turns about them."""
    return struct.pack("<B6h", TRANSLATION, *translation, *rotation)


class SpaceMouseParser:
    """Axes and buttons out of reports; older models tell translation and rotation apart."""

    def __init__(self) -> None:
        """Begin with nothing touched."""
        self._pressed: list[Button] = []
        self._bits = 0
        self.reset()

    def reset(self) -> None:
        """Let go of everything."""
        self._axes = np.zeros(6)
        self._told_s = self._touched_s = float("-inf")

    def feed(self, data: bytes, now_s: float) -> None:
        """Take one report; what is none is ignored."""
        if not data:
            return
        kind, values = data[0], data[1:]
        if kind == TRANSLATION and len(values) >= 12:
            self._turn(0, values[:12], now_s)
        elif kind in (TRANSLATION, ROTATION) and len(values) >= 6:
            self._turn(0 if kind == TRANSLATION else 3, values[:6], now_s)
        elif kind == PRESSES:
            bits = int.from_bytes(values[:6], "little")
            self._pressed += [button for bit, button in BUTTONS.items() if bits & ~self._bits & 1 << bit]
            self._bits = bits

    def _turn(self, first: int, values: bytes, now_s: float) -> None:
        counts = struct.unpack(f"<{len(values) // 2}h", values)
        self._axes[first : first + len(counts)] = np.clip(np.array(counts) / FULL, -1.0, 1.0)
        self._told_s = now_s
        if np.abs(self._axes).max() > HELD_FROM:
            self._touched_s = now_s

    def sample(self, now_s: float) -> Sample:
        """Return what is held now."""
        if np.abs(self._axes).max() > HELD_FROM and now_s - self._told_s > SILENCE_S:
            self.reset()
        x, y, z, rx, ry, rz = self._axes.tolist()
        pressed, self._pressed = tuple(self._pressed), []
        deflection = np.array((-y, -x, -z, -ry, -rx, -rz))
        return Sample(held=now_s - self._touched_s <= LINGERS_S, deflection=deflection, pressed=pressed)
