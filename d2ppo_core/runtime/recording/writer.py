"""Writes an episode in a thread of its own, from a queue that is bounded in bytes: what does not fit is counted."""

from __future__ import annotations

import os
import threading
from collections import Counter, deque
from pathlib import Path

from d2ppo_core.runtime.recording.mcap_file import McapFile
from d2ppo_core.runtime.recording.raw import RawMessage

_LOOK_S = 0.2
_NO_ROOM = "disk full"


class EpisodeWriter:
    """One episode's messages on their way to the disk."""

    def __init__(self, path: Path, *, queue_bytes: int, min_free_bytes: int) -> None:
        """Begin.

        Args:
            path: The file that appears at the end.
            queue_bytes: So much may wait in memory; beyond it messages are dropped and counted.
            min_free_bytes: The episode ends when less than this would be left on the disk.

        Raises:
            OSError: The file cannot be made.
        """
        self._file = McapFile(path)
        self._folder, self._queue_bytes, self._min_free_bytes = path.parent, queue_bytes, min_free_bytes
        self._queue: deque[RawMessage] = deque()
        self._waiting_bytes, self._closing = 0, False
        self._changed = threading.Condition()
        self.counts: Counter[str] = Counter()
        """Messages written, by topic."""
        self.lost: Counter[str] = Counter()
        """Messages dropped, by topic."""
        self.spans: dict[str, tuple[int, int]] = {}
        """First and last stamp in ns, by topic."""
        self.failure = ""
        """Why writing ended before it was told to, one line."""
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    @property
    def size_bytes(self) -> int:
        """Written so far."""
        return self._file.size_bytes

    def put(self, message: RawMessage) -> bool:
        """Take a message to be written; False when it had to be dropped."""
        with self._changed:
            if self.failure or self._closing or self._waiting_bytes + len(message.data) > self._queue_bytes:
                self.lost[message.channel.topic] += 1
                return False
            self._queue.append(message)
            self._waiting_bytes += len(message.data)
            self._changed.notify()
        return True

    def finish(self) -> bool:
        """Write what waits and complete the file; False where that failed, which `failure` names."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()
        if not self.failure or self.failure.startswith(_NO_ROOM):
            try:
                self._file.finish()
                return True
            except OSError as error:
                self.failure = _reason(error)
        self._file.abandon()
        return False

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._closing:
                    self._changed.wait(_LOOK_S)
                if not self._queue:
                    return
                batch = list(self._queue)
                self._queue.clear()
            try:
                self._guard_disk(sum(len(message.data) for message in batch))
                for message in batch:
                    self._file.write(message)
                    self._note(message)
            except Exception as error:  # a thread that ends without a word would lose an episode without one
                self.failure = str(error) if isinstance(error, _DiskFullError) else _reason(error)
                return
            with self._changed:
                self._waiting_bytes -= sum(len(message.data) for message in batch)

    def _note(self, message: RawMessage) -> None:
        topic = message.channel.topic
        self.counts[topic] += 1
        first_ns, _ = self.spans.get(topic, (message.stamp_ns, 0))
        self.spans[topic] = first_ns, message.stamp_ns

    def _guard_disk(self, more_bytes: int) -> None:
        free_bytes = free_bytes_at(self._folder)
        if free_bytes - more_bytes < self._min_free_bytes:
            raise _DiskFullError(
                f"{_NO_ROOM}: {free_bytes / 2**20:.0f} MiB are left, "
                f"{self._min_free_bytes / 2**20:.0f} MiB are kept free"
            )


class _DiskFullError(Exception):
    """The bound of free space is reached: what was written so far is whole."""


def free_bytes_at(folder: Path) -> int:
    """Room on the disk that a user without special rights may fill."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def _reason(error: BaseException) -> str:
    known = isinstance(error, OSError) and error.errno
    return f"cannot write: {os.strerror(known) if known else str(error) or type(error).__name__}"
