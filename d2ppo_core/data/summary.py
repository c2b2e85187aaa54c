"""What a file of demonstrations holds, in a few lines of text."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from d2ppo_core.data.episodes import Episode, EpisodeReader
from d2ppo_core.data.tasks import task_of_env


def summarize(path: Path) -> str:
    """Task, demonstrations, lengths, actions, observations, subsets and how it was recorded.

    Raises:
        DataError: the file is missing or damaged.
    """
    with EpisodeReader(path) as reader:
        env_name = str(reader.env_args.get("env_name"))
        keys: list[str] | None = None if reader.has_observations(reader.names[0]) else []
        first = reader.read(reader.names[0], keys=keys)
        rest = list(reader.episodes(keys=[]))
        lengths = np.array([len(episode) for episode in rest])
        solved = sum(bool(len(e.dones)) and bool(e.dones[-1] or e.rewards[-1] > 0) for e in rest)
        lines = [
            f"file          {path} ({path.stat().st_size / 2**20:.1f} MiB)",
            f"task          {task_of_env(env_name)} ({env_name}, robosuite {reader.env_args.get('env_version', '?')})",
            f"demonstrations {len(reader)}, {solved} end solved",
            f"control steps {lengths.sum()}; per demonstration {lengths.min()} … {lengths.max()}, "
            f"median {np.median(lengths):.0f}",
            *_action_lines(rest),
            *_observation_lines(first),
            *(f"subset        {key}: {len(names)} demonstrations" for key, names in reader.filters.items()),
        ]
        if reader.recording:
            lines.append(f"recorded with {json.dumps(dict(reader.recording))}")
    return "\n".join(lines)


def _action_lines(episodes: list[Episode]) -> list[str]:
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
    width = max(len(key) for key in episode.observations)
    return [
        f"observation   {key:<{width}}  {values.dtype} {values.shape[1:]}, {values.min():.3g} … {values.max():.3g}"
        for key, values in episode.observations.items()
    ]
