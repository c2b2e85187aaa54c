"""Every device by name, behind one protocol."""

import atexit
import fcntl
import struct
from collections.abc import Callable
from typing import Protocol

from d2ppo_core.runtime.teleop import gamepad, keyboard, spacemouse
from d2ppo_core.runtime.teleop.ports import Port, TerminalPort, gamepads, only_one, spacemice
from d2ppo_core.runtime.teleop.sample import Parser, Sample

_READS = 64
_ABSINFO = struct.Struct("@6i")
"""Kernel's ``struct input_absinfo``: value, minimum, maximum, fuzz, flat, resolution."""
_EVIOCGABS = 2 << 30 | _ABSINFO.size << 16 | ord("E") << 8 | 0x40


class Source(Protocol):
    """Where a device's bytes come from."""

    def read(self) -> bytes | None:
        """Return what has come, b"" when nothing did, and None when there is nobody at the other end."""

    def close(self) -> None:
        """Let it go."""


class Device:
    """A port and what understands its bytes."""

    def __init__(self, name: str, port: Source, parser: Parser, help_text: str) -> None:
        """Take what was opened."""
        self.name, self.help = name, help_text
        self._port, self._parser = port, parser
        atexit.register(self.close)

    def read(self, now_s: float) -> Sample:
        """Return what the device says now, without waiting.

        Raises:
            DeviceError: it was unplugged.
        """
        data: bytes | None = b""
        for _ in range(_READS):  # a device that never stops talking is heard, but not waited for
            if not (data := self._port.read()):
                break
            self._parser.feed(data, now_s)
        if data is None:
            self._parser.reset()
        return self._parser.sample(now_s)

    def close(self) -> None:
        """Let the device go; a terminal is as it was before."""
        self._port.close()
        atexit.unregister(self.close)


def open_device(name: str, path: str = "") -> Device:
    """Open a device.

    Args:
        name: one of ``DEVICES``.
        path: which one; empty: the only one that is plugged in, or this process's terminal.

    Raises:
        DeviceError: there is none, there are several, or it may not be opened.
    """
    return DEVICES[name](path)


def _keyboard(path: str) -> Device:
    return Device("keyboard", TerminalPort(path or "/dev/tty"), keyboard.KeyboardParser(), keyboard.HELP)


def _gamepad(path: str) -> Device:
    port = Port("gamepad", path or only_one("gamepad", gamepads()))
    return Device("gamepad", port, gamepad.GamepadParser(_ranges(port.fd)), gamepad.HELP)


def _spacemouse(path: str) -> Device:
    port = Port("spacemouse", path or only_one("spacemouse", spacemice()))
    return Device("spacemouse", port, spacemouse.SpaceMouseParser(), spacemouse.HELP)


DEVICES: dict[str, Callable[[str], Device]] = {"keyboard": _keyboard, "gamepad": _gamepad, "spacemouse": _spacemouse}


def _ranges(fd: int) -> dict[int, tuple[int, int]]:
    """Return the ranges of the axes that a device has."""
    ranges = {}
    for axis in gamepad.RANGES:
        try:
            answer = fcntl.ioctl(fd, _EVIOCGABS + axis, bytes(_ABSINFO.size))
        except OSError:
            continue  # no such axis, or no device
        _, low, high, *_ = _ABSINFO.unpack(answer)
        if low < high:
            ranges[axis] = low, high
    return ranges
