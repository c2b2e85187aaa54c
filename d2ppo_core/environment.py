"""What the caller's environment may be: looked at once, before any library trips over it."""

from __future__ import annotations

import errno
import io
import os
import stat
import sys
import tempfile
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import IO

from d2ppo_core.errors import WorldError

CACHES = {
    "ROS_HOME": "ros",
    "NUMBA_CACHE_DIR": "numba",
    "MPLCONFIGDIR": "matplotlib",
    "XDG_CACHE_HOME": "cache",
}
"""Variables by which libraries that write below HOME are sent elsewhere, and to which folder there."""

_DRAWABLE = ("", "egl", "glfw", "glx", "on", "enable", "enabled", "true", "1")
_UNDRAWN = ("disable", "disabled", "off", "false", "0")
"""What mujoco takes for MUJOCO_GL besides osmesa. Pictures are drawn by EGL whatever it says; glfw is the viewer's."""

_REFUSALS = frozenset(
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EACCES", "EPERM", "EIO", "EMFILE", "ENFILE", "ENAMETOOLONG")
)


def prepare(environment: MutableMapping[str, str] = os.environ) -> None:
    """Make the console take any character, and give the caches a place where HOME is none."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a console that is not UTF-8 shows a question mark
    why = home_problem(environment)
    if why and not all(name in environment for name in CACHES):
        folder = _own_folder()
        for name, part in CACHES.items():
            environment.setdefault(name, str(folder / part))
        print(f"d2ppo: {why}; caches and logs of ROS go to {folder}", file=sys.stderr)


def cache_folder() -> Path:
    """Where things are kept that can be made again: below XDG_CACHE_HOME, else below HOME; it need not exist."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "d2ppo"


def home_problem(environment: Mapping[str, str]) -> str:
    """Why nothing can be written below HOME; empty where it can."""
    home = environment.get("HOME", "")
    if not home:
        return "HOME is not set"
    return "" if os.access(home, os.W_OK | os.X_OK) and Path(home).is_dir() else f"HOME={home} is not writable"


def check_renderer(environment: Mapping[str, str]) -> None:
    """Raise WorldError where variables ask for a way of drawing that MuJoCo or its EGL cannot live with."""
    chosen, platform = environment.get("MUJOCO_GL", ""), environment.get("PYOPENGL_PLATFORM", "")
    cure = "pictures are drawn by EGL, which needs no display"
    if chosen.lower().strip() not in _DRAWABLE + _UNDRAWN:
        raise WorldError(f"MUJOCO_GL={chosen} cannot be used: {cure}; unset it, or set MUJOCO_GL=egl")
    if platform.lower() not in ("", "egl"):
        raise WorldError(f"PYOPENGL_PLATFORM={platform} cannot be used: {cure}; unset it")


def refusal(error: OSError) -> str:
    """One line about what the operating system refused a user; empty where it is a fault of the program."""
    if error.errno is None or error.errno not in _REFUSALS:
        return ""
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{os.strerror(error.errno)}"


def quiet_close(stream: IO[str]) -> None:
    """Close a file whose disk may be full; what could not be written was told before."""
    try:
        stream.close()
    except OSError:
        return


def _own_folder() -> Path:
    """A folder of this user below that of temporary files, which nobody else can have put there."""
    folder = Path(tempfile.gettempdir()) / f"d2ppo-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="d2ppo-"))
