"""Recording demonstrations: many attempts of a scripted expert, in parallel, of which the successful ones are kept.

Attempt i depends on (seed, i) only, and demonstrations are written in the order of attempts. Hence the file is the
same whatever the number of workers, and a recording that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import signal
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import count
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from d2ppo_core.data.episodes import Episode, EpisodeWriter
from d2ppo_core.errors import ConfigError, D2ppoError, WorldError
from sim.experts import ActionNoise, Command, Style, expert_for
from sim.experts.studio import ROBOSUITE, STUDIOS, Studio, env_args, open_studio
from sim.robosuite.env import suite_task, task_of
from sim.tasks import arm_limits

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
    worlds: str = ROBOSUITE
    """Where the expert acts: `robosuite` or `batched`."""
    arm_limits: bool = False
    """Keep no demonstration in which an arm passed the limits that real ones have."""

    def __post_init__(self) -> None:
        """Raise ConfigError for a task without an expert, a skill beyond [0, 1] or pictures that are too small."""
        expert_for(self.task)
        if self.worlds not in STUDIOS:
            raise ConfigError(f"wanted worlds called {' or '.join(STUDIOS)}, got {self.worlds!r}")
        if self.worlds == ROBOSUITE:
            suite_task(self.task)
        if not 0.0 <= self.skill_min <= self.skill_max <= 1.0:
            raise ConfigError(f"skill must be a range within [0, 1], got [{self.skill_min}, {self.skill_max}]")
        if self.image_size_px < 8:
            raise ConfigError(f"pictures must be at least 8 pixels wide, got {self.image_size_px}")

    def studio(self) -> Studio:
        """A world to record in. Raises WorldError where something is missing."""
        return open_studio(self.worlds, self.task, images=self.images, image_size_px=self.image_size_px)


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


def record(
    recording: Recording, path: Path, *, num_demos: int, num_workers: int = 1
) -> Generator[Progress, None, None]:
    """Record until the file holds `num_demos` demonstrations, yielding after each attempt.

    Raises:
        ConfigError: num_demos or num_workers is not positive.
        DataError: the file exists and is damaged or was recorded with other settings.
        WorldError: a worker died, or the expert keeps failing.
    """
    if num_demos < 1 or num_workers < 1:
        raise ConfigError(f"demonstrations and workers must be positive, got {num_demos} and {num_workers}")
    described = env_args(recording.task, recording.image_size_px)
    settings = asdict(recording)
    if recording.worlds == ROBOSUITE:
        del settings["worlds"]  # as in files from before there was a choice
    if not recording.arm_limits:
        del settings["arm_limits"]  # likewise
    failures = 0
    with EpisodeWriter(path, env_args=described, recording=settings) as writer:
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


def attempt(studio: Studio, recording: Recording, index: int) -> Episode | None:
    """Let the expert try once.

    Returns:
        The demonstration, or None if the task was not solved at the end, or an arm passed limits that are to be kept.
    """
    env_seed, style_seed = (int(value) for value in np.random.SeedSequence([recording.seed, index]).generate_state(2))
    rng = np.random.default_rng(style_seed)
    style = Style.draw(rng, rng.uniform(recording.skill_min, recording.skill_max))
    model_xml, scene = studio.begin(env_seed)
    labels, executed, states, solved = _act(studio, expert_for(recording.task)(scene, style), style, rng)
    if not solved[-1]:
        return None
    if recording.arm_limits and arm_limits.passed(scene.arm_joints_rad(states, studio.num_arms)).any():
        return None
    observations = studio.observations(states)
    next_keys = [k for k in observations if recording.next_images or k not in task_of(recording.task).image_keys]
    return Episode(
        actions=executed,
        expert_actions=labels,
        rewards=solved.astype(np.float64),
        dones=solved.astype(np.int64),
        states=states[:-1],
        observations={key: values[:-1] for key, values in observations.items()},
        next_observations={key: observations[key][1:] for key in next_keys},
        model_xml=model_xml,
        attributes={"attempt": index, "seed": env_seed, "skill": style.skill},
    )


def _act(
    studio: Studio, commands: Iterator[Command], style: Style, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Run an expert: labels (T, Da), executed actions (T, Da), states (T + 1, Ds), solved after each step (T,)."""
    noise = ActionNoise(rng, style.noise_std, studio.num_arms)
    labels, executed, states, solved = [], [], [studio.state()], []
    for command in commands:
        labels.append(command.action)
        executed.append(np.clip(command.action + command.noise_gain * noise(), -1.0, 1.0))
        solved.append(studio.step(executed[-1]))
        states.append(studio.state())
        if len(labels) >= studio.horizon_steps:
            break
    return np.array(labels), np.array(executed), np.array(states), np.array(solved)


def _work(recording: Recording, first: int, stride: int, results: Connection) -> None:
    """A worker process: make every `stride`-th attempt and send it off, until the parent has enough and ends us."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    try:
        with recording.studio() as studio:
            for index in count(first, stride):
                results.send(attempt(studio, recording, index))
    except BrokenPipeError:  # the parent is gone
        return
    except D2ppoError as error:
        results.send(error)


def _attempts(recording: Recording, first: int, num_workers: int) -> Generator[tuple[int, Episode | None], None, None]:
    """Attempts in order, without end. Worker w makes attempts w, w + num_workers, …; a full pipe makes it wait."""
    context = get_context("spawn")  # a forked process would share the parent's OpenGL context
    pipes = [context.Pipe(duplex=False) for _ in range(num_workers)]
    workers = [
        context.Process(target=_work, args=(recording, first + w, num_workers, sender), daemon=True)
        for w, (_, sender) in enumerate(pipes)
    ]
    try:
        for worker, (_, sender) in zip(workers, pipes, strict=True):
            worker.start()
            sender.close()  # so that a dead worker ends the stream
        for index in count(first):
            result = pipes[(index - first) % num_workers][0].recv()
            if isinstance(result, D2ppoError):
                raise result
            yield index, result
    except EOFError as error:
        raise WorldError("a recording worker died (out of memory?); run the command again to go on") from error
    finally:
        for worker in workers:
            if worker.is_alive():
                worker.terminate()
