"""Episodes to look at: an expert, a policy or a recorded demonstration, as a film or in MuJoCo's viewer.

A source is a generator that moves a world: it yields after each control step, and says at the end how it went.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Generator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import mujoco
import numpy as np

from d2ppo_core.data.episodes import Episode
from d2ppo_core.data.video import VideoWriter
from d2ppo_core.errors import WorldError
from d2ppo_core.representations import OSC_DELTA
from sim.evaluation.episodes import ChunkPolicy
from sim.evaluation.playback import restore
from sim.evaluation.stage import Stage
from sim.experts import ActionNoise, Scene, Style, expert_for
from sim.rendering.offscreen import OffscreenRenderer
from sim.tasks.base import CONTROL_HZ

Source = Generator[None, None, "Outcome"]
"""Yields once the world stands ready and after each control step."""

LINGER_STEPS = 10
"""Control steps that a film goes on after the task was solved."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How an episode went."""

    success: bool
    steps: int
    """Control steps until it was solved, or in all."""


def expert_episode(env: Stage, task: str, seed: int, skill: float | None) -> Source:
    """The scripted expert; without a skill it goes the shortest careful way, without noise."""
    rng = np.random.default_rng(seed)
    style = Style.plain() if skill is None else Style.draw(rng, skill)
    noise = ActionNoise(rng, style.noise_std, env.task.num_robots)
    env.reset(seed)
    yield
    solved_at, step = 0, 0
    scene = Scene(model=env.model, data=env.data, is_solved=env.is_success)
    commands = islice(expert_for(task)(scene, style), env.task.horizon_steps)
    for step, command in enumerate(commands, start=1):
        env.step(np.clip(command.action + command.noise_gain * noise(), -1.0, 1.0))
        solved_at = (solved_at or step) if env.is_success() else 0
        yield
    return Outcome(success=solved_at > 0, steps=solved_at or step)


def policy_episode(
    env: Stage,
    policy: ChunkPolicy,
    seed: int,
    *,
    action_horizon: int,
    images: bool,
    max_steps: int,
    representation: str = OSC_DELTA,
) -> Source:
    """A policy, which gets a fresh observation for each chunk; ends a moment after success."""
    env.reset(seed)
    yield
    solved_at, step = 0, 0
    while step < max_steps and not (solved_at and step >= solved_at + LINGER_STEPS):
        for action in policy(env.observe(images=images))[:action_horizon]:
            env.step(env.deltas(action, representation))
            step += 1
            solved_at = solved_at or (step if env.is_success() else 0)
            yield
    return Outcome(success=solved_at > 0, steps=solved_at or step)


def recorded_episode(env: Stage, episode: Episode, place: str = "the demonstration") -> Source:
    """The recorded states, one after the other: what was seen when it was recorded. Raises as `restore` does."""
    restore(env, episode, place)
    yield
    for state in episode.states[1:]:
        env.set_state(state)
        yield
    return Outcome(success=bool(episode.dones[-1]), steps=len(episode))


class Screen(Protocol):
    """Shows a world as it stands."""

    def show(self, env: Stage) -> None:
        """Called after each control step."""
        ...

    def close(self) -> None:
        """Called once."""
        ...


def play(env: Stage, source: Source, screen: Screen) -> Outcome:
    """Let an episode run before a screen."""
    while True:
        try:
            next(source)
        except StopIteration as end:
            outcome: Outcome = end.value
            return outcome
        screen.show(env)


class Film:
    """An MP4 file at the speed of the robot."""

    def __init__(self, path: Path, *, camera: str, width: int, height: int) -> None:
        """Start a film; raises DataError where a side is odd."""
        self._camera, self._size = camera, (width, height)
        self._writer = VideoWriter(path, width=width, height=height, fps=CONTROL_HZ)
        self._renderer: OffscreenRenderer | None = None
        self._model: Any = None

    def show(self, env: Stage) -> None:
        """Append a picture; raises WorldError where the world has no such camera."""
        model, data = env.model, env.data
        if self._renderer is None or self._model is not model:  # each reset compiles a new one
            self._drop_renderer()
            self._renderer, self._model = OffscreenRenderer(model, *self._size), model
        self._writer.append(self._renderer.render(data, self._camera))

    def close(self) -> None:
        """Finish the film."""
        self._drop_renderer()
        self._writer.close()

    def _drop_renderer(self) -> None:
        if self._renderer is not None:
            self._renderer.close()
        self._renderer = self._model = None


def display_problem() -> str:
    """Why no window can be opened here; empty where one can. MuJoCo's viewer would end the process instead."""
    display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY", "")
    if not display:
        return "DISPLAY is not set"
    try:
        import glfw

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            answers = bool(glfw.init())
        if answers:
            glfw.terminate()
    except Exception as error:  # GLFW raises its own, by what is missing
        return f"GLFW does not load ({error})"
    return "" if answers else f"nobody answers at DISPLAY={display}"


class Viewer:
    """MuJoCo's interactive viewer, in real time."""

    def __init__(self, open_window: Callable[..., Any] | None = None) -> None:
        """Nothing opens before the first step; `open_window` replaces `mujoco.viewer.launch_passive`."""
        self._open = open_window
        self._window: Any = None
        self._model: Any = None
        self._due_s = 0.0

    def show(self, env: Stage) -> None:
        """Draw, and wait until it is time for the next step. Raises WorldError where there is no display."""
        model, data = env.model, env.data
        if self._window is None or self._model is not model:
            self.close()
            self._window, self._model = self._launch(model, data), model
            self._due_s = time.monotonic()
        self._window.sync()
        self._due_s += 1.0 / CONTROL_HZ
        time.sleep(max(0.0, self._due_s - time.monotonic()))

    def close(self) -> None:
        """Close the window."""
        if self._window is not None:
            self._window.close()
        self._window = self._model = None

    def _launch(self, model: mujoco.MjModel, data: mujoco.MjData) -> Any:
        try:
            import mujoco.viewer

            return (self._open or mujoco.viewer.launch_passive)(model, data, show_left_ui=False, show_right_ui=False)
        except Exception as error:  # GLFW raises its own, by what is missing
            raise WorldError(f"the viewer wants a display ({error}); make a film instead: --out FILE.mp4") from error
