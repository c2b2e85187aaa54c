"""Episodes that a recorder could not bring to their end, made whole as far as they go."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from d2ppo_core.errors import RecordingError
from d2ppo_core.runtime.recording.episode import RAW, Facts, Outcome, cut_off
from d2ppo_core.runtime.recording.mcap_file import PARTIAL, messages_in, salvage

CAUSE = "cut off, saved afterwards"


def save_all(root: Path) -> dict[str, str]:
    """Complete what is left of every episode that was cut off; no recorder may be writing into the folder.

    Returns:
        Name of the episode -> what became of it, in words.
    """
    return {folder.name: _save(folder) for folder in cut_off(root)}


def _save(folder: Path) -> str:
    partial = folder / f"{RAW}{PARTIAL}"
    try:
        if partial.exists():
            salvage(partial)
        counts: Counter[str] = Counter()
        first_ns = last_ns = -1
        for message in messages_in(folder / RAW):
            counts[message.channel.topic] += 1
            first_ns = message.received_ns if first_ns < 0 else first_ns
            last_ns = message.received_ns
        facts = Facts(
            name=folder.name,
            outcome=str(Outcome.UNJUDGED),
            stop_cause=CAUSE,
            began_ns=first_ns,
            duration_s=round((last_ns - first_ns) * 1e-9, 3),
            messages=dict(sorted(counts.items())),
        )
        facts.write(folder)
    except RecordingError as error:
        return str(error)
    except OSError as error:
        return f"cannot be written: {error.strerror}"
    return f"{facts.duration_s:.1f} s and {sum(counts.values())} messages saved"
