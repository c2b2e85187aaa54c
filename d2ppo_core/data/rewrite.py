"""A file of demonstrations written anew, as this version writes it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from d2ppo_core.data.episodes import EpisodeReader, EpisodeWriter
from d2ppo_core.errors import DataError


def rewrite(source: Path, out: Path, *, on_episode: Callable[[int, int], None] = lambda done, total: None) -> int:
    """Copy all demonstrations and subsets: `actions` become what the controller got, pictures are compressed.

    Args:
        source: robomimic HDF5 file, ours, an early one of ours or a public one with observations.
        out: New file; it appears when it is complete.
        on_episode: Called after each demonstration with the number done and the number of all.

    Returns:
        Number of demonstrations.

    Raises:
        DataError: `out` exists, or the source cannot be read or lacks observations.
    """
    if out.exists():
        raise DataError(f"{out} exists already; choose another file")
    partial = out.with_name(out.name + ".partial")
    partial.unlink(missing_ok=True)
    with EpisodeReader(source) as reader:
        recording = reader.recording
        with EpisodeWriter(partial, env_args=reader.env_args, recording=recording) as writer:
            renamed = {}
            for number, name in enumerate(reader.names, start=1):
                episode = reader.read(name, next_observations=reader.has_next_observations(name))
                renamed[name] = writer.append(episode)
                on_episode(number, len(reader))
            for key, members in reader.filters.items():
                writer.write_filter(key, [renamed[name] for name in members])
        os.replace(partial, out)
        return len(reader)
