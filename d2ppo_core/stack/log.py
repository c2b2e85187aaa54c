"""One log of many processes: each line with the name of its node, on the console and in a file."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self, TextIO

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
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("w", encoding="utf-8")

    def write(self, name: str, line: str) -> None:
        """Write one line of node ``name``, with the seconds since the log was opened."""
        text = f"{time.monotonic() - self._start_s:8.3f} [{name}] {line}\n"
        with self._lock:
            for stream in (self._console, self._file):
                if stream is None:
                    continue
                try:
                    stream.write(text)
                    stream.flush()
                except (OSError, ValueError):  # a closed pipe or file must not take the stack down
                    continue

    def close(self) -> None:
        """Close the file; what is written later goes to the console only."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def __enter__(self) -> Self:
        """Return the log itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Close the file."""
        self.close()
