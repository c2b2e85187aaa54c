"""One log of many processes: each line with the name of its node, on the console and in a file."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self, TextIO

from d2ppo_core.environment import quiet_close
from d2ppo_core.errors import OutputError
from d2ppo_core.output import check_file
from d2ppo_core.recognise import is_log


class StackLog:
    """Writes whole lines from several threads; closing it twice is fine.

    Args:
        path: the file, its folders are made; None writes none.
        console: the stream to repeat everything on; None repeats nothing.
    """

    def __init__(self, path: Path | None = None, console: TextIO | None = None) -> None:
        """Open the file; raises OutputError where something else than an older log is there."""
        self.path = path
        self._console = console
        self._lock = threading.Lock()
        self._start_s = time.monotonic()
        self._file: IO[str] | None = None
        if path is not None:
            check_file(path, "log of a stack", is_log)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._file = path.open("w", encoding="utf-8")
            except OSError as error:
                raise OutputError(f"{path}: the log cannot be written: {error.strerror}") from error

    def write(self, name: str, line: str) -> None:
        """Write one line of node ``name``, with the seconds since the log was opened."""
        text = f"{time.monotonic() - self._start_s:8.3f} [{name}] {line}\n"
        with self._lock:
            if self._console is not None:
                with suppress(OSError, ValueError):  # a closed pipe must not take the stack down
                    self._console.write(text)
                    self._console.flush()
            if self._file is None:
                return
            try:
                self._file.write(text)
                self._file.flush()
            except (OSError, ValueError) as error:
                self._give_up(str(error))

    def _give_up(self, why: str) -> None:
        """Say that the file cannot be written any more, once; the stack goes on."""
        assert self._file is not None
        quiet_close(self._file)
        self._file = None
        line = f"d2ppo: {self.path}: the log ends here, it cannot be written: {why}\n"
        with suppress(OSError, ValueError):
            (self._console or sys.stderr).write(line)

    def close(self) -> None:
        """Close the file; what is written later goes to the console only."""
        with self._lock:
            if self._file is not None:
                quiet_close(self._file)
                self._file = None

    def __enter__(self) -> Self:
        """Return the log itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Close the file."""
        self.close()
