"""Files that devices are: found, opened and read without waiting; what is wrong is one line that says the cure."""

import contextlib
import errno
import os
import stat
import termios
import tty
from pathlib import Path
from typing import Any

from d2ppo_core.errors import DeviceError

_READ_BYTES = 4096
_MARK_PASTES, _MARK_NONE = b"\x1b[?2004h", b"\x1b[?2004l"
"""Ask a terminal to say which text was pasted, and to stop doing so."""
_UDEV = {
    "gamepad": 'KERNEL=="event*", SUBSYSTEM=="input", ENV{ID_INPUT_JOYSTICK}=="1", TAG+="uaccess"',
    "spacemouse": 'KERNEL=="hidraw*", ATTRS{idVendor}=="256f", TAG+="uaccess"',
}
_SPACEMICE = ("0000256F", "0000046D")
"""Vendors, as the kernel writes them; the second one makes mice and keyboards too."""


def only_one(kind: str, found: dict[str, str]) -> str:
    """Return the path of the only device of a kind.

    Args:
        kind: ``gamepad`` or ``spacemouse``.
        found: path to name.

    Raises:
        DeviceError: there is none, or several; the line lists them.
    """
    if not found:
        raise DeviceError(f"no {kind} is plugged in; a device that has another name is taken by its path")
    if len(found) > 1:
        several = ", ".join(f"{path} ({name})" for path, name in sorted(found.items()))
        raise DeviceError(f"several devices could be the {kind}: {several}; say which one by its path")
    return next(iter(found))


def gamepads(listing: Path = Path("/proc/bus/input/devices")) -> dict[str, str]:
    """Return path to name of what the kernel takes for a gamepad or joystick."""
    found: dict[str, str] = {}
    for block in listing.read_text(encoding="utf-8").split("\n\n") if listing.is_file() else ():
        lines = {line[:1]: line[3:] for line in block.splitlines()}
        name = lines.get("N", "").partition("=")[2].strip('"')
        handlers = lines.get("H", "").partition("=")[2].split()
        events = [handler for handler in handlers if handler.startswith("event")]
        if events and any(handler.startswith("js") for handler in handlers) and "3Dconnexion" not in name:
            found[f"/dev/input/{events[0]}"] = name
    return found


def spacemice(folder: Path = Path("/sys/class/hidraw")) -> dict[str, str]:
    """Return path to name of what calls itself a SpaceMouse or SpaceNavigator."""
    found: dict[str, str] = {}
    for file in sorted(folder.glob("*/device/uevent")):
        lines = dict(line.partition("=")[::2] for line in file.read_text(encoding="utf-8").splitlines())
        name = lines.get("HID_NAME", "")
        if lines.get("HID_ID", "").split(":")[1:2] in [[vendor] for vendor in _SPACEMICE] and "Space" in name:
            found[f"/dev/{file.parent.parent.name}"] = name
    return found


class Port:
    """An open device. Raises DeviceError where it cannot be opened or read."""

    def __init__(self, kind: str, path: str, access: int = os.O_RDONLY) -> None:
        """Open a path for reading; a FIFO or a file stands for a device in tests."""
        self._name = f"{kind} {path}"
        try:
            self.fd = os.open(path, access | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except PermissionError:
            rule = _UDEV.get(kind, "")
            cure = f"; as root: echo '{rule}' > /etc/udev/rules.d/70-d2ppo.rules, then plug it in again" if rule else ""
            raise DeviceError(f"no permission to read {self._name}{cure}") from None
        except OSError as error:
            raise DeviceError(f"{self._name} cannot be opened: {os.strerror(error.errno or 0)}") from None
        self._is_device = stat.S_ISCHR(os.fstat(self.fd).st_mode)

    def read(self) -> bytes | None:
        """Return what has come, b"" when nothing did, and None when there is nobody at the other end of a FIFO."""
        try:
            data = os.read(self.fd, _READ_BYTES)
        except BlockingIOError:
            return b""
        except OSError as error:
            if error.errno == errno.EINTR:
                return b""
            raise DeviceError(f"{self._name} was unplugged ({os.strerror(error.errno or 0)})") from None
        if not data and self._is_device:
            raise DeviceError(f"{self._name} is gone")
        return data or None

    def close(self) -> None:
        """Close it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class TerminalPort(Port):
    """A terminal that gives each key at once and shows none; Ctrl-C stays what it is. `close` restores it."""

    def __init__(self, path: str) -> None:
        """Open and change a terminal."""
        try:
            super().__init__("keyboard", path, os.O_RDWR)
            self._before: list[Any] = termios.tcgetattr(self.fd)
        except (DeviceError, termios.error):
            raise DeviceError(f"the keyboard needs a terminal, and {path} is none: run d2ppo teleop in one") from None
        tty.setcbreak(self.fd, termios.TCSANOW)
        self._write(_MARK_PASTES)

    def close(self) -> None:
        """Restore the terminal; typed keys that nobody read are dropped."""
        if self.fd >= 0:
            self._write(_MARK_NONE)
            with contextlib.suppress(termios.error):  # it may be gone
                termios.tcsetattr(self.fd, termios.TCSAFLUSH, self._before)
        super().close()

    def _write(self, sequence: bytes) -> None:
        with contextlib.suppress(OSError):
            os.write(self.fd, sequence)
