"""What is known of an episode beside its raw messages, and what was decided about it later."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from d2ppo_core.errors import RecordingError
from d2ppo_core.runtime.recording.mcap_file import sync_folder

RAW, FACTS, EDITS = "episode.mcap", "episode.json", "edits.jsonl"


class Outcome(StrEnum):
    """How an episode came out."""

    SUCCESS = "success"
    FAILURE = "failure"
    DISCARDED = "discarded"
    UNJUDGED = "unjudged"


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The content of `episode.json`, written once when the episode has ended."""

    name: str
    outcome: str
    stop_cause: str
    """What ended it, in words: `operator`, `disk full: …`, `longest duration of 600 s` …"""
    began_ns: int
    """On the stack's clock, as all stamps; `began_utc` is the calendar's."""
    duration_s: float
    began_utc: str = ""
    bundle_name: str = ""
    bundle_hash: str = ""
    """Of the policy that ran when the episode began; empty: none."""
    calibration_hash: str = ""
    setup: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    messages: Mapping[str, int] = field(default_factory=dict)
    """Topic -> number written."""
    cadence_hz: Mapping[str, float] = field(default_factory=dict)
    """Topic -> messages per second, by their stamps."""
    lost: Mapping[str, int] = field(default_factory=dict)
    """Topic -> number dropped because the disk was too slow."""

    def write(self, folder: Path) -> None:
        """Write it; once it is there the episode counts as finished.

        Raises:
            OSError: The disk refused.
        """
        replace_text(folder / FACTS, json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Facts:
        """Read it. Raises RecordingError where it is missing or not one of ours."""
        path = folder / FACTS
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            return cls(**found)
        except FileNotFoundError:
            raise RecordingError(
                f"{folder} has no {FACTS}: it was cut off; save what there is with: d2ppo data salvage {folder.parent}"
            ) from None
        except (OSError, ValueError, TypeError) as error:
            raise RecordingError(f"{path} cannot be read: {error}") from error


@dataclass(frozen=True, kw_only=True)
class Edited:
    """An episode as it counts now: its facts and every edit since, in their order."""

    folder: Path
    facts: Facts
    outcome: str
    first_s: float = 0.0
    """What lies before is trimmed, in seconds since the episode's begin."""
    last_s: float = float("inf")
    dropped: bool = False

    @property
    def name(self) -> str:
        """Name of the episode's folder."""
        return self.folder.name

    @property
    def raw(self) -> Path:
        """The episode's messages."""
        return self.folder / RAW


def replace_text(path: Path, text: str) -> None:
    """Let a file appear, or change, in one step and for good."""
    fresh = path.with_name(f".{path.name}.new")
    with fresh.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)
    sync_folder(path.parent)


def append_edit(root: Path, episode: str, **edit: Any) -> None:
    """Append a decision about an episode: `outcome=…`, `first_s=…, last_s=…` or `dropped=…`.

    Raises:
        RecordingError: There is no such episode, or the file cannot be written.
    """
    Facts.read(root / episode)
    try:
        with (root / EDITS).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"episode": episode, **edit}) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise RecordingError(f"{root / EDITS} cannot be written: {os.strerror(error.errno or 0)}") from error


def finished(root: Path) -> tuple[Edited, ...]:
    """All finished episodes of a folder, in their order, as they count after all edits.

    Raises:
        RecordingError: It is no folder of recordings, or a file in it is damaged.
    """
    if not root.is_dir():
        raise RecordingError(f"there is no folder {root}; record into one with: d2ppo up sim --set record={root}")
    found = {
        folder.name: Edited(folder=folder, facts=facts, outcome=facts.outcome)
        for folder in sorted(root.glob("episode_*"))
        if (folder / FACTS).is_file()
        for facts in [Facts.read(folder)]
    }
    for number, edit in enumerate(_edits(root), start=1):
        name = edit.pop("episode", None)
        if name not in found:
            continue  # of an episode that was deleted since
        try:
            found[name] = replace(found[name], **edit)
        except TypeError as error:
            raise RecordingError(f"{root / EDITS}: line {number}: {error}") from error
    return tuple(found.values())


def cut_off(root: Path) -> tuple[Path, ...]:
    """Folders of episodes that were not brought to their end."""
    return tuple(folder for folder in sorted(root.glob("episode_*")) if not (folder / FACTS).is_file())


def _edits(root: Path) -> list[dict[str, Any]]:
    path, edits = root / EDITS, []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines() if path.is_file() else (), start=1):
        try:
            edit = json.loads(line)
        except ValueError:
            edit = None
        if not isinstance(edit, dict):
            raise RecordingError(f"{path}: line {number} is no edit: {line[:60]!r}")
        edits.append(edit)
    return edits
