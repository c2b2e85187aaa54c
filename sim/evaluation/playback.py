"""Recorded actions played back in robosuite: a demonstration that does not repeat is worth nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from d2ppo_core.data.deltas import check_deltas
from d2ppo_core.data.episodes import Episode, EpisodeReader
from d2ppo_core.data.tasks import task_of_env
from d2ppo_core.errors import ConfigError, DataError
from d2ppo_core.representations import OSC_DELTA, SIZES
from sim.evaluation.stage import Stage
from sim.robosuite.env import RobosuiteEnv


@dataclass(frozen=True, kw_only=True)
class Playback:
    """How one demonstration went the second time."""

    name: str
    """Of the demonstration in its file."""
    success: bool
    """Solved after the last action."""
    state_error: float
    """Largest deviation of a position or velocity from the recorded states, m, rad, m/s or rad/s."""
    total: int
    """Demonstrations to be played back in all."""


def playback(path: Path, *, num: int | None = None, filter_key: str | None = None) -> Iterator[Playback]:
    """Play demonstrations of a file back, one after the other.

    Args:
        path: robomimic HDF5 file with states.
        num: So many demonstrations; None plays all.
        filter_key: Only those of this subset.

    Raises:
        DataError: The file cannot be read, or holds no states or deltas of this world.
        ConfigError: It is of a task that we do not have, or `num` is not positive.
        WorldError: robosuite is missing.
    """
    if num is not None and num < 1:
        raise ConfigError(f"demonstrations to play back must be positive, got {num}")
    with EpisodeReader(path, filter_key=filter_key) as reader:
        names = reader.names[:num]
        with RobosuiteEnv(task_of_env(reader.env_name)) as env:
            for name in names:
                episode = reader.read(name, keys=[])
                check_playable(env, reader, name, episode)
                success, error = play_back_episode(env, episode, f"{path}: {name}")
                yield Playback(name=name, success=success, state_error=error, total=len(names))


def check_playable(env: RobosuiteEnv, reader: EpisodeReader, name: str, episode: Episode) -> None:
    """Raise DataError where a demonstration holds no states to start from, or actions that the robots cannot take."""
    if not episode.states.size:
        raise DataError(f"{reader.path}: {name} holds no states to start from")
    width, wanted = episode.actions.shape[1], env.task.num_robots * SIZES[OSC_DELTA]
    check_deltas(reader, name, width)
    if width != wanted:
        raise DataError(f"{reader.path}: {name}: {env.task.env_name} takes actions of {wanted} numbers, got {width}")


def play_back_episode(env: RobosuiteEnv, episode: Episode, place: str = "the demonstration") -> tuple[bool, float]:
    """Whether the recorded actions solve the task again, and how far the states stray. Raises as `restore` does."""
    restore(env, episode, place)
    error = 0.0
    for action, state in zip(episode.actions[:-1], episode.states[1:], strict=True):
        env.step(action)
        error = max(error, float(np.abs(env.state()[1:] - state[1:]).max()))
    env.step(episode.actions[-1])
    return env.is_success(), error


def restore(env: Stage, episode: Episode, place: str = "the demonstration") -> None:
    """Put the world where a demonstration begins; without its model, objects keep the shapes that they have.

    Raises DataError, naming `place`, where its model cannot be loaded, or its states are of another world.
    """
    try:
        if episode.model_xml:
            env.load(episode.model_xml)
        else:
            env.reset(0)
    except Exception as error:  # MuJoCo, robosuite and the XML parser each raise their own
        reason = " ".join(str(error).split())[:160]
        raise DataError(f"{place}: its model_file cannot be loaded by this robosuite ({reason})") from error
    wanted, got = len(env.state()), episode.states.shape[1]
    if got != wanted:
        raise DataError(f"{place}: wanted states of {wanted} numbers, as this world has them, got {got}")
    env.set_state(episode.states[0])
