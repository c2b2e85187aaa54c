"""Where experts are recorded: robosuite itself, or a batched world, which is several times as quick.

Equal seeds are equal episodes in both, but for what rounding makes of them.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from d2ppo_core.closing import Closing
from d2ppo_core.envs import AutoresetMode
from d2ppo_core.objects import OBJECT_PARTS_KEY
from sim.batch.env import BatchedEnv
from sim.batch.pictures import Pictures
from sim.experts.scene import Scene
from sim.rendering.offscreen import PictureSize, height_and_width
from sim.robosuite.env import RobosuiteEnv
from sim.tasks import task_named
from sim.tasks.base import CONTROL_HZ
from sim.tasks.own import OwnTask

ROBOSUITE, BATCHED = "robosuite", "batched"
Rows = dict[str, NDArray[Any]]
"""Name of an observation -> (T, ...)."""


class Studio(Closing):
    """One world in which an expert acts and is recorded."""

    horizon_steps: int
    """Control steps after which an attempt has failed."""
    num_arms: int

    @abstractmethod
    def begin(self, seed: int) -> tuple[str, Scene]:
        """Start the episode of a seed as robomimic would replay it; returns the model as MJCF, and what is seen."""

    @abstractmethod
    def step(self, action: NDArray[np.float64]) -> bool:
        """Advance by one control step with deltas (7 per arm,); returns whether the task is solved now."""

    @abstractmethod
    def state(self) -> NDArray[np.float64]:
        """(1 + nq + nv,) robomimic's flattened state."""

    @abstractmethod
    def observations(self, states: NDArray[np.float64]) -> Rows:
        """What states (T, 1 + nq + nv) of this episode look like, computed afresh, pictures included if wanted."""


class RobosuiteStudio(Studio):
    """robosuite: what is recorded replays to the last digits."""

    def __init__(self, task: str, *, images: bool, image_size_px: PictureSize) -> None:
        """Build the world. Raises ConfigError for an unknown task, WorldError where robosuite is missing."""
        self.env, self._images = RobosuiteEnv(task, image_size_px=image_size_px), images
        self.horizon_steps, self.num_arms = self.env.task.horizon_steps, self.env.task.num_robots

    def begin(self, seed: int) -> tuple[str, Scene]:
        """As `Studio.begin`."""
        self.env.reset(seed)
        model_xml = self.env.model_xml()
        self.env.reset_to(model_xml, self.env.state())
        return model_xml, Scene(model=self.env.model, data=self.env.data, is_solved=self.env.is_success)

    def step(self, action: NDArray[np.float64]) -> bool:
        """As `Studio.step`."""
        self.env.step(action)
        return self.env.is_success()

    def state(self) -> NDArray[np.float64]:
        """As `Studio.state`."""
        return self.env.state()

    def observations(self, states: NDArray[np.float64]) -> Rows:
        """As `Studio.observations`."""
        rows = []
        for state in states:
            self.env.set_state(state)
            rows.append(self.env.observe(images=self._images))
        return {key: np.stack([row[key] for row in rows]) for key in rows[0]}

    def close(self) -> None:
        """Free everything."""
        self.env.close()


class BatchedStudio(Studio):
    """A batched world by itself; robosuite, where it has the task, gives the model that is saved with an episode."""

    def __init__(self, task: str, *, images: bool, image_size_px: PictureSize) -> None:
        """Build the world. Raises ConfigError for an unknown task, WorldError where something is missing."""
        self._suite = RobosuiteEnv(task) if task_named(task).in_robosuite else None
        self.env = BatchedEnv(
            task, 1, num_threads=1, autoreset_mode=AutoresetMode.DISABLED, shortcuts=False, arithmetic="exact"
        )
        cameras = self.env.task.robosuite.cameras
        self._pictures = Pictures(task, cameras, image_size_px, 1) if images else None
        self.horizon_steps, self.num_arms = self.env.horizon_steps, self.env.task.num_arms
        self._solved = False

    def begin(self, seed: int) -> tuple[str, Scene]:
        """As `Studio.begin`."""
        model_xml = ""
        if self._suite is not None:
            self._suite.reset(seed)
            model_xml = self._suite.model_xml()  # of the model that was compiled last: before there is another
        self.env.reset(seed=[seed])
        start = self.env.task.draw(np.random.default_rng(seed))
        self.env.set_states(self.env.states(), [start])
        if self._pictures is not None:
            self._pictures.dress(0, start, {})
        self._solved = False
        return model_xml, Scene(model=self.env.model, data=self.env.kernel.data[0], is_solved=lambda: self._solved)

    def step(self, action: NDArray[np.float64]) -> bool:
        """As `Studio.step`."""
        self._solved = bool(self.env.step(action[None])[4]["success"][0])
        return self._solved

    def state(self) -> NDArray[np.float64]:
        """As `Studio.state`."""
        return np.asarray(self.env.states()[0])

    def observations(self, states: NDArray[np.float64]) -> Rows:
        """As `Studio.observations`."""
        rows: list[Rows] = []
        for state in states:
            self.env.set_states(state[None])
            taps = self.env.layout.observation_taps.split(self.env.kernel.observations.copy())
            seen: Rows = dict(self.env.task.observe(taps))
            if self._pictures is not None:
                seen |= self._pictures.draw(np.ones(1, bool), [self.env.kernel.data[0].qpos])
            rows.append(seen)
        return {key: np.concatenate([row[key] for row in rows]) for key in rows[0]}

    def close(self) -> None:
        """Free everything."""
        self.env.close()
        if self._suite is not None:
            self._suite.close()
        if self._pictures is not None:
            self._pictures.close()


def env_args(task: str, image_size_px: PictureSize) -> dict[str, Any]:
    """What a file of episodes says of its environment: as robomimic has it, or how a user's own task is observed.

    Raises ConfigError for an unknown task, WorldError where robosuite is missing.
    """
    known = task_named(task)
    if not isinstance(known, OwnTask):
        with RobosuiteEnv(task, image_size_px=image_size_px) as env:
            return env.env_args()
    height, width = height_and_width(image_size_px)
    cameras = {"camera_names": list(known.seen), "camera_heights": height, "camera_widths": width}
    return {
        "env_name": known.name,
        "env_kwargs": {"control_freq": CONTROL_HZ, **cameras},
        OBJECT_PARTS_KEY: [asdict(part) for part in known.recipe],
    }


STUDIOS: dict[str, type[RobosuiteStudio] | type[BatchedStudio]] = {ROBOSUITE: RobosuiteStudio, BATCHED: BatchedStudio}


def open_studio(where: str, task: str, *, images: bool, image_size_px: PictureSize) -> Studio:
    """A world of `where`, one of `STUDIOS`. Raises ConfigError and WorldError as its constructor does."""
    return STUDIOS[where](task, images=images, image_size_px=image_size_px)
