"""A file of demonstrations written anew, as this version writes it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from d2ppo_core.data.episodes import EpisodeReader, EpisodeWriter
from d2ppo_core.errors import DataError
from d2ppo_core.output import writing_file


def rewrite(source: Path, out: Path, *, on_episode: Callable[[int, int], None] = lambda done, total: None) -> int:
    """Copy all demonstrations and subsets: `actions` become what the controller got, pictures are compressed.

    Args:
        source: robomimic HDF5 file, ours, an early one of ours or a public one with observations.
        out: New file; it appears when it is complete.
        on_episode: Called after each demonstration with the number done and the number of all.

    Returns:
        Number of demonstrations.

    Raises:
        DataError: `out` exists, or the source cannot be read, lacks observations or holds numbers that are not finite.
        OutputError: `out` cannot be written.
    """
    if out.exists():
        raise DataError(f"{out} exists already; choose another file")
    with EpisodeReader(source) as reader, writing_file(out, "new file") as unfinished:
        with EpisodeWriter(unfinished, env_args=reader.env_args, recording=reader.recording) as writer:
            renamed = {}
            for number, name in enumerate(reader.names, start=1):
                episode = reader.read(name, next_observations=reader.has_next_observations(name))
                renamed[name] = writer.append(episode)
                on_episode(number, len(reader))
            for key, members in reader.filters.items():
                if lost := [name for name in members if name not in renamed]:
                    raise DataError(f"{source}: subset {key!r} names {', '.join(lost)}, which the file lacks")
                writer.write_filter(key, [renamed[name] for name in members])
        return len(reader)
