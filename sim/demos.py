"""Recording demonstrations: many attempts of a scripted expert, in parallel, of which the successful ones are kept.

Attempt i depends on (seed, i) only, and demonstrations are written in the order of attempts. Hence the file is the
same whatever the number of workers, and a recording that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from d2ppo_core.data.episodes import Episode, EpisodeWriter
from d2ppo_core.errors import ConfigError, WorldError
from sim.experts import ActionNoise, Expert, Style, expert_for
from sim.robosuite_env import RobosuiteEnv, task_of

MAX_FAILURES_IN_A_ROW = 200
"""An expert that fails this often will never fill the file."""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """How demonstrations are made; stored in the file."""

    task: str
    seed: int = 0
    skill_min: float = 0.5
    skill_max: float = 1.0
    """Each attempt draws its skill uniformly from [skill_min, skill_max]."""
    images: bool = True
    """Render the task's cameras."""
    image_size_px: int = 96
    next_images: bool = False
    """Also store the picture after each step; it is the next step's picture, so it only doubles the size."""

    def __post_init__(self) -> None:
        expert_for(self.task)
        if not 0.0 <= self.skill_min <= self.skill_max <= 1.0:
            raise ConfigError(f"skill must be a range within [0, 1], got [{self.skill_min}, {self.skill_max}]")
        if self.image_size_px < 8:
            raise ConfigError(f"pictures must be at least 8 pixels wide, got {self.image_size_px}")


@dataclass(frozen=True, kw_only=True)
class Progress:
    """State of a recording after an attempt."""

    attempts: int
    """Attempts made so far, those of earlier runs included."""
    demos: int
    """Demonstrations in the file."""
    kept: bool
    """Whether the newest attempt was kept."""
    steps: int
    """Control steps of the newest demonstration; 0 if it was not kept."""


def record(recording: Recording, path: Path, *, num_demos: int, num_workers: int = 1) -> Iterator[Progress]:
    """Record until the file holds `num_demos` demonstrations, yielding after each attempt.

    Raises:
        ConfigError: num_demos or num_workers is not positive.
        DataError: the file exists and is damaged or was recorded with other settings.
        WorldError: a worker died, or the expert keeps failing.
    """
    if num_demos < 1 or num_workers < 1:
        raise ConfigError(f"demonstrations and workers must be positive, got {num_demos} and {num_workers}")
    with RobosuiteEnv(recording.task, image_size_px=recording.image_size_px) as env:
        env_args = env.env_args()
    failures = 0
    with EpisodeWriter(path, env_args=env_args, recording=asdict(recording)) as writer:
        if len(writer) >= num_demos:
            return
        first = int(writer.last_attributes.get("attempt", -1)) + 1
        with closing(_attempts(recording, first, num_workers)) as attempts:
            for index, episode in attempts:
                failures = 0 if episode else failures + 1
                if episode:
                    writer.append(episode)
                steps = len(episode) if episode else 0
                yield Progress(attempts=index + 1, demos=len(writer), kept=episode is not None, steps=steps)
                if len(writer) >= num_demos:
                    return
                if failures >= MAX_FAILURES_IN_A_ROW:
                    raise WorldError(f"the {recording.task} expert failed {failures} times in a row")


def attempt(env: RobosuiteEnv, recording: Recording, index: int) -> Episode | None:
    """Let the expert try once.

    Returns:
        The demonstration, or None if the task was not solved at the end.
    """
    env_seed, style_seed = (int(value) for value in np.random.SeedSequence([recording.seed, index]).generate_state(2))
    rng = np.random.default_rng(style_seed)
    style = Style.draw(rng, rng.uniform(recording.skill_min, recording.skill_max))
    env.reset(env_seed)
    model_xml = env.model_xml()
    env.reset_to(model_xml, env.state())
    labels, executed, states, solved = _act(env, expert_for(recording.task), style, rng)
    if not solved[-1]:
        return None
    observations = _observe(env, recording, states)
    next_keys = [k for k in observations if recording.next_images or k not in task_of(recording.task).image_keys]
    return Episode(
        actions=labels,
        executed_actions=executed,
        rewards=solved.astype(np.float64),
        dones=solved.astype(np.int64),
        states=states[:-1],
        observations={key: values[:-1] for key, values in observations.items()},
        next_observations={key: observations[key][1:] for key in next_keys},
        model_xml=model_xml,
        attributes={"attempt": index, "seed": env_seed, "skill": style.skill},
    )


def _act(
    env: RobosuiteEnv, expert: Expert, style: Style, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Run the expert: labels (T, Da), executed actions (T, Da), states (T + 1, Ds), solved after each step (T,)."""
    noise = ActionNoise(rng, style.noise_std)
    labels, executed, states, solved = [], [], [env.state()], []
    for command in expert(env.raw, style):
        labels.append(command.action)
        executed.append(np.clip(command.action + command.noise_gain * noise(), -1.0, 1.0))
        env.step(executed[-1])
        states.append(env.state())
        solved.append(env.is_success())
        if len(labels) >= env.task.horizon_steps:
            break
    return np.array(labels), np.array(executed), np.array(states), np.array(solved)


def _observe(env: RobosuiteEnv, recording: Recording, states: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
    """Observations of all states, computed afresh: name -> (T + 1, ...)."""
    rows = []
    for state in states:
        env.set_state(state)
        rows.append(env.observe(images=recording.images))
    return {key: np.stack([row[key] for row in rows]) for key in rows[0]}


_worker: tuple[RobosuiteEnv, Recording] | None = None
"""The world of a worker process, built once."""


def _start_worker(recording: Recording) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    _worker = (RobosuiteEnv(recording.task, image_size_px=recording.image_size_px), recording)


def _work(index: int) -> Episode | None:
    if _worker is None:
        raise WorldError("this process was not started as a worker")
    return attempt(*_worker, index)


def _attempts(recording: Recording, first: int, num_workers: int) -> Iterator[tuple[int, Episode | None]]:
    """Attempts in order, without end; a few are computed ahead of the consumer."""
    pool = ProcessPoolExecutor(
        num_workers, mp_context=get_context("spawn"), initializer=_start_worker, initargs=(recording,)
    )
    pending: deque[tuple[int, Future[Episode | None]]] = deque()
    try:
        for index in count(first):
            pending.append((index, pool.submit(_work, index)))
            if len(pending) >= 2 * num_workers:
                oldest, future = pending.popleft()
                yield oldest, future.result()
    except BrokenProcessPool as error:
        raise WorldError("a recording worker died (out of memory?); run the command again to go on") from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
