"""Notices that whoever started a node is gone: ``ros2 launch`` killed by SIGKILL leaves its nodes running."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from d2ppo_core.errors import ConfigError

STARTER = "D2PPO_STARTER_PID"
"""Environment variable with the process that a node belongs to, set by ``d2ppo up`` and the launch files alone.

The parent process would not do: a node run by hand in the background outlives its shell on purpose, and one that
launch runs under a debugger or a wrapper script has another parent.
"""
LOOK_S = 0.2
GRACE_S = 10.0
"""Time that a node then has to end; a node that hangs is killed."""


class StarterWatch:
    """A thread that looks after the starter; without a starter there is none.

    Args:
        gone: called once, from the thread, with the starter's process id.
        environment: where the starter is named, default this process's.
        grace_s: time after ``gone`` after which this process is killed.

    Raises:
        ConfigError: the variable is no process id.
    """

    def __init__(
        self,
        gone: Callable[[int], None],
        environment: Mapping[str, str] = os.environ,
        *,
        grace_s: float = GRACE_S,
    ) -> None:
        """Begin to look."""
        text = environment.get(STARTER, "")
        if text and not text.isdigit():
            raise ConfigError(f"{STARTER} must be a process id, got {text!r}")
        self._gone, self._grace_s = gone, grace_s
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        if text:
            self._thread = threading.Thread(target=self._look, args=(int(text),), name="starter", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._end.set()
        if self._thread is not None:
            self._thread.join()

    def _look(self, pid: int) -> None:
        born = birth_of(pid)
        while born is not None and birth_of(pid) == born:
            if self._end.wait(LOOK_S):
                return
        self._gone(pid)
        if not self._end.wait(self._grace_s):
            os.kill(os.getpid(), signal.SIGKILL)


def birth_of(pid: int) -> int | None:
    """Return when a process was started, in clock ticks since boot; None when it has ended, reaped or not."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])
