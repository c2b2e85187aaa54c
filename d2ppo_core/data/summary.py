"""What a file of demonstrations holds, in a few lines of text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from d2ppo_core.data import hdf5
from d2ppo_core.data.deltas import why_no_deltas
from d2ppo_core.data.episode import is_picture
from d2ppo_core.data.episodes import Episode, EpisodeReader
from d2ppo_core.data.reader import not_finite
from d2ppo_core.data.tasks import task_of_env
from d2ppo_core.objects import OBJECT_PARTS_KEY


def summarize(path: Path) -> str:
    """Task, demonstrations, lengths, actions, observations, subsets and how it was recorded.

    Raises:
        DataError: the file is missing or damaged.
    """
    with EpisodeReader(path) as reader:
        env_name = hdf5.clean(reader.env_name)
        keys: list[str] | None = None if reader.has_observations(reader.names[0]) else []
        first = reader.read(reader.names[0], keys=keys, finite=False)
        rest = list(reader.episodes(keys=[], finite=False))
        lengths = np.array([len(episode) for episode in rest])
        solved = sum(bool(len(e.dones)) and bool(e.dones[-1] or e.rewards[-1] > 0) for e in rest)
        lines = [
            f"file          {path} ({path.stat().st_size / 2**20:.1f} MiB)",
            f"task          {task_of_env(env_name)}{_suite(reader, env_name)}",
            f"demonstrations {len(reader)}, {solved} end solved",
            f"control steps {lengths.sum()}; per demonstration {lengths.min()} … {lengths.max()}, "
            f"median {np.median(lengths):.0f}",
            *_action_lines(rest),
            *_observation_lines(first),
            *_next_picture_lines(first, reader.next_keys(reader.names[0])),
            *(f"subset        {key}: {len(names)} demonstrations" for key, names in reader.filters.items()),
        ]
        if reader.recording:
            lines.append(f"recorded with {json.dumps(dict(reader.recording))}")
        lines += _warnings(reader, [(reader.names[0], first), *zip(reader.names, rest, strict=True)])
    return "\n".join(lines)


def _suite(reader: EpisodeReader, env_name: str) -> str:
    """What robosuite calls it; nothing for a task that robosuite does not have."""
    if OBJECT_PARTS_KEY in reader.env_args:
        return ""
    return f" ({env_name}, robosuite {reader.env_args.get('env_version', '?')})"


def _action_lines(episodes: list[Episode]) -> list[str]:
    widths = sorted({episode.actions.shape[1] for episode in episodes})
    if len(widths) > 1:
        return [f"actions       of {' or '.join(map(str, widths))} numbers, which no training takes"]
    actions = np.concatenate([episode.actions for episode in episodes])
    lines = [f"actions       {actions.shape[1]} numbers, {actions.min():.2f} … {actions.max():.2f}"]
    if all(episode.expert_actions is not None for episode in episodes):
        deviation = np.sqrt(np.mean((actions - np.concatenate([episode.labels for episode in episodes])) ** 2))
        lines.append(f"labels        expert_actions, {deviation:.3f} r.m.s. from the executed ones")
    else:
        lines.append("labels        the actions themselves")
    return lines


def _observation_lines(episode: Episode) -> list[str]:
    if not episode.observations:
        return ["observations  none (raw file); compute them with robomimic's dataset_states_to_obs.py"]
    width = max(len(hdf5.clean(key)) for key in episode.observations)
    return [
        f"observation   {hdf5.clean(key):<{width}}  {values.dtype} {values.shape[1:]}{_range(values)}"
        for key, values in episode.observations.items()
    ]


def _range(values: NDArray[Any]) -> str:
    if values.dtype.kind not in "biuf" or not values.size:
        return ""
    return f", {values.min():.3g} … {values.max():.3g}"


def _next_picture_lines(episode: Episode, next_keys: Sequence[str]) -> list[str]:
    """The image training of robomimic asks for pictures after each step, unless told not to."""
    pictures = [key for key, values in episode.observations.items() if is_picture(values)]
    if not pictures or set(pictures) <= set(next_keys):
        return []
    return ["next pictures none; robomimic wants train.hdf5_load_next_obs=false, or a file recorded with --next-images"]


def _warnings(reader: EpisodeReader, episodes: Sequence[tuple[str, Episode]]) -> list[str]:
    """What training and converting will refuse."""
    lines = [f"not deltas    {reason}"] if (reason := why_no_deltas(reader, episodes[0][1].actions.shape[1])) else []
    found = {name: place for name, episode in reversed(episodes) if (place := not_finite(episode))}
    if found:
        name = min(found, key=reader.position)
        lines.append(f"not finite    {len(found)} demonstrations; {name}/{found[name]}")
    return lines
