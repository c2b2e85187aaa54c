"""A folder of episodes that one recorder fills: names, the set-up that all of them share, starts and ends."""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from d2ppo_core.closing import Closing
from d2ppo_core.errors import RecordingError
from d2ppo_core.runtime.recording.episode import RAW, Facts, Outcome, append_edit, cut_off, finished, replace_text
from d2ppo_core.runtime.recording.raw import RawMessage
from d2ppo_core.runtime.recording.writer import EpisodeWriter, free_bytes_at

SETUP = "setup.json"
_NS = 1e-9


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of one recorder."""

    queue_bytes: int = 256 * 2**20
    min_free_bytes: int = 2**30
    max_duration_s: float = 600.0


class Session(Closing):
    """One recorder's hold on a folder; at most one episode runs. Whatever is refused is a RecordingError."""

    def __init__(self, root: Path, limits: Limits | None = None) -> None:
        """Take the folder, make it where there is none.

        Raises:
            RecordingError: Another recorder has it, or it cannot be written.
        """
        self.root, self._limits = root, limits or Limits()
        try:
            root.mkdir(parents=True, exist_ok=True)
            self._lock = (root / ".recorder.lock").open("w", encoding="utf-8")
        except OSError as error:
            raise RecordingError(f"{root} cannot be written: {error.strerror}; choose another folder") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise RecordingError(f"another recorder writes into {root}; choose another folder") from None
        self._writer: EpisodeWriter | None = None
        self._begun: dict[str, Any] = {}
        self.episode = ""
        """Name of the newest episode; empty: none of this session."""
        self.facts: Facts | None = None
        """Of the newest finished one of this session."""
        self.failure = ""
        """Why the newest episode could not be written."""
        self.episodes = len(finished(root))
        """Finished ones in the folder."""

    @property
    def is_recording(self) -> bool:
        """Whether an episode runs."""
        return self._writer is not None

    @property
    def writer(self) -> EpisodeWriter | None:
        """Of the episode that runs."""
        return self._writer

    def duration_s(self, now_ns: int) -> float:
        """Of the running episode, or of the newest one."""
        if self._writer is not None:
            return (now_ns - int(self._begun["began_ns"])) * _NS
        return self.facts.duration_s if self.facts else 0.0

    def cut_off(self) -> tuple[str, ...]:
        """Episodes that an earlier recorder could not bring to their end."""
        return tuple(
            folder.name for folder in cut_off(self.root) if not (self.is_recording and folder.name == self.episode)
        )

    def start(self, now_ns: int, setup: Mapping[str, Any], **known: Any) -> str:
        """Begin an episode and return its name.

        Args:
            now_ns: The stack's time.
            setup: What all episodes of a folder share; another one than before is refused.
            known: Other facts, as `Facts` names them.
        """
        if self._writer is not None:
            raise RecordingError(f"{self.episode} is being recorded already")
        self._agree(setup)
        free_bytes = free_bytes_at(self.root)
        if free_bytes < self._limits.min_free_bytes:
            raise RecordingError(
                f"disk full: {free_bytes / 2**20:.0f} MiB are left at {self.root}, "
                f"{self._limits.min_free_bytes / 2**20:.0f} MiB are kept free; make room or choose another folder"
            )
        numbers = [int(path.name[8:]) for path in self.root.glob("episode_*") if path.name[8:].isdigit()]
        name = f"episode_{max(numbers, default=0) + 1:04d}"
        try:
            (self.root / name).mkdir()
            self._writer = EpisodeWriter(
                self.root / name / RAW,
                queue_bytes=self._limits.queue_bytes,
                min_free_bytes=self._limits.min_free_bytes,
            )
        except OSError as error:
            raise RecordingError(f"{self.root / name} cannot be written: {error.strerror}") from error
        began_utc = datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="seconds")
        self._begun = {**known, "setup": dict(setup), "began_ns": now_ns, "began_utc": began_utc}
        self.episode, self.facts, self.failure = name, None, ""
        return name

    def put(self, message: RawMessage) -> None:
        """Record a message, if an episode runs."""
        if self._writer is not None:
            self._writer.put(message)

    def due(self, now_ns: int) -> str:
        """Why the running episode has to end now; empty: it may go on."""
        if self._writer is None:
            return ""
        if self._writer.failure:
            return self._writer.failure
        longest_s = self._limits.max_duration_s
        return f"longest duration of {longest_s:g} s" if self.duration_s(now_ns) >= longest_s else ""

    def end(self, outcome: Outcome, cause: str, now_ns: int) -> Facts:
        """End the episode that runs; without one judge the newest, if nobody did."""
        if self._writer is None:
            return self._judge(outcome)
        writer, self._writer = self._writer, None
        whole = writer.finish()
        if not whole:
            self.failure = f"{self.episode} is not whole: {writer.failure}"
            raise RecordingError(f"{self.failure}; what there is: d2ppo data salvage {self.root}")
        self.facts = Facts(
            name=self.episode,
            outcome=str(outcome),
            stop_cause=writer.failure or cause,
            duration_s=round((now_ns - int(self._begun["began_ns"])) * _NS, 3),
            messages=dict(sorted(writer.counts.items())),
            cadence_hz={
                topic: _cadence_hz(writer.counts[topic], *span) for topic, span in sorted(writer.spans.items())
            },
            lost=dict(sorted(writer.lost.items())),
            **self._begun,
        )
        try:
            self.facts.write(self.root / self.episode)
        except OSError as error:
            self.facts, self.failure = None, f"{self.episode} is not whole: {error.strerror}"
            raise RecordingError(f"{self.failure}; what there is: d2ppo data salvage {self.root}") from error
        self.episodes += 1
        return self.facts

    def _judge(self, outcome: Outcome) -> Facts:
        if self.facts is None:
            raise RecordingError("no episode is being recorded")
        if outcome is Outcome.UNJUDGED:
            raise RecordingError(f"{self.episode} has ended already")
        counts = next(one.outcome for one in finished(self.root) if one.name == self.episode)
        if counts != Outcome.UNJUDGED:
            raise RecordingError(f"{self.episode} has been judged already: {counts}")
        append_edit(self.root, self.episode, outcome=str(outcome))
        return self.facts

    def _agree(self, setup: Mapping[str, Any]) -> None:
        path, wanted = self.root / SETUP, json.loads(json.dumps(dict(setup)))
        if not path.is_file():
            replace_text(path, json.dumps(wanted, indent=2) + "\n")
            return
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RecordingError(f"{path} cannot be read: {error}") from error
        if differing := sorted(key for key in found.keys() | wanted.keys() if found.get(key) != wanted.get(key)):
            named = ", ".join(f"{key} {found.get(key)!r}, here it is {wanted.get(key)!r}" for key in differing)
            raise RecordingError(f"{self.root} was recorded with another set-up: {named}; choose another folder")

    def close(self) -> None:
        """Let the folder go; an episode that runs must have been ended."""
        self._lock.close()


def _cadence_hz(count: int, first_ns: int, last_ns: int) -> float:
    return round((count - 1) / ((last_ns - first_ns) * _NS), 3) if count > 1 and last_ns > first_ns else 0.0
