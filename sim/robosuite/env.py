"""robosuite's tasks behind a small, seeded interface: states, robomimic's observations and the stack's own renderer."""

from __future__ import annotations

import importlib
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from d2ppo_core.actions import deltas_from_goals
from d2ppo_core.closing import Closing
from d2ppo_core.errors import ConfigError, WorldError
from d2ppo_core.extras import robosuite_line
from d2ppo_core.representations import EE_ABSOLUTE, OSC_DELTA
from sim.rendering.offscreen import OffscreenRenderer, PictureSize, height_and_width
from sim.tasks import TASKS, task_named
from sim.tasks.base import CONTROL_HZ
from sim.tasks.robosuite_task import RobosuiteTask

ROBOMIMIC_ROBOSUITE_TYPE = 1
"""robomimic's EnvType for robosuite, part of a dataset's `env_args`."""


def task_of(name: str) -> RobosuiteTask:
    """What robosuite calls the task of this name; raises ConfigError when there is none."""
    return task_named(name).robosuite


def suite_task(name: str) -> RobosuiteTask:
    """The same; raises ConfigError, too, for a task that robosuite does not have."""
    task = task_named(name)
    if not task.in_robosuite:
        raise ConfigError(f"robosuite does not have task {task.name}: it lives in batched worlds and in the stack")
    return task.robosuite


class RobosuiteEnv(Closing):
    """One headless robosuite world at 20 Hz with OSC_POSE deltas as actions.

    robosuite's own cameras stay off; observations are always computed from the present state, never taken from
    `step()`, whose values are up to a substep old.
    """

    task: RobosuiteTask
    image_size_px: PictureSize
    """Of the pictures."""

    def __init__(self, task: str | RobosuiteTask, *, image_size_px: PictureSize = 96, **overrides: Any) -> None:
        """Build the world.

        Args:
            task: Name of a task, or a description of any other that robosuite knows, e.g. your own.
            image_size_px: Side of the pictures, or their height and width.
            overrides: Arguments of `robosuite.make` that differ from the standard ones here.

        Raises:
            ConfigError: unknown task, or one that robosuite does not have.
            WorldError: robosuite is missing or does not work with what is installed.
        """
        self.task = suite_task(task) if isinstance(task, str) else task
        self.image_size_px = image_size_px
        suite = _import_robosuite()
        self._version: str = suite.__version__
        self._kwargs = _env_kwargs(suite, self.task) | overrides
        with _quiet():
            self.raw = suite.make(self.task.env_name, **self._kwargs)
        self._renderer: OffscreenRenderer | None = None
        self._rendered_model: object = None

    @property
    def model(self) -> mujoco.MjModel:
        """MuJoCo's, compiled anew by every reset."""
        return self.raw.sim.model._model

    @property
    def data(self) -> mujoco.MjData:
        """MuJoCo's, of that model."""
        return self.raw.sim.data._data

    def reset(self, seed: int) -> None:
        """Start a new episode; the same seed gives the same world, whatever happened before."""
        self.raw.rng.bit_generator.state = np.random.default_rng(seed).bit_generator.state
        with _quiet():
            self.raw.reset()

    def reset_with(self, rng: np.random.Generator) -> None:
        """Start a new episode drawn with `rng`, which goes on from where robosuite leaves it."""
        self.raw.rng.bit_generator.state = rng.bit_generator.state
        with _quiet():
            self.raw.reset()
        rng.bit_generator.state = self.raw.rng.bit_generator.state

    def reset_to(self, model_xml: str, state: NDArray[np.float64]) -> None:
        """Put back a saved model and state, as robomimic does before it replays a demonstration.

        Args:
            model_xml: what `model_xml()` returned, here or on another machine (asset paths are relocated).
            state: (1 + nq + nv,) what `state()` returned.
        """
        self.load(model_xml)
        self.set_state(state)

    def load(self, model_xml: str) -> None:
        """Put back a saved model in its initial state. What it raises on a foreign one is MuJoCo's or robosuite's."""
        with _quiet():
            self.raw.reset_from_xml_string(self.raw.edit_model_xml(model_xml))
        self.raw.sim.reset()

    def step(self, action: NDArray[np.floating[Any]]) -> None:
        """Advance by one control step of 50 ms with `action` (7,) per robot, each in [-1, 1]."""
        self.raw.step(np.asarray(action, dtype=np.float64))

    def deltas(self, action: NDArray[np.floating[Any]], representation: str = OSC_DELTA) -> NDArray[np.floating[Any]]:
        """What to `step` with now, (7,) per robot, for a policy's action: goals lead there from where the hands are."""
        if representation != EE_ABSOLUTE:
            return np.asarray(np.clip(action, -1.0, 1.0))
        self.refresh()
        model, data, arms = self.raw.sim.model._model, self.raw.sim.data._data, range(self.task.num_robots)
        positions = np.stack([data.site(f"gripper{arm}_right_grip_site").xpos for arm in arms])
        rotations = np.stack([data.xmat[model.body(f"robot{arm}_right_hand").id].reshape(3, 3) for arm in arms])
        bases = self.base_rotations()
        return np.asarray(deltas_from_goals(np.asarray(action)[None], positions[None], rotations[None], bases)[0])

    def base_rotations(self) -> NDArray[np.float64]:
        """(A, 3, 3) of the robots' bases in the world."""
        data = self.raw.sim.data._data
        sites = [data.site(f"robot{arm}_right_center") for arm in range(self.task.num_robots)]
        return np.stack([site.xmat.reshape(3, 3) for site in sites])

    def state(self) -> NDArray[np.float64]:
        """(1 + nq + nv,) time, positions and velocities: robomimic's flattened state."""
        return np.array(self.raw.sim.get_state().flatten())

    def set_state(self, state: NDArray[np.float64]) -> None:
        """Put back positions and velocities of the present model and recompute everything that follows from them."""
        self.raw.sim.set_state_from_flattened(np.asarray(state))
        self.raw.sim.forward()

    def refresh(self) -> None:
        """Recompute what follows from positions and velocities; after `step` that is a substep old.

        The motion goes on as if this had not been called.
        """
        data = self.raw.sim.data._data
        warmstart = data.qacc_warmstart.copy()
        self.raw.sim.forward()
        data.qacc_warmstart[:] = warmstart

    def model_xml(self) -> str:
        """The model as MJCF, for `reset_to`."""
        return str(self.raw.sim.model.get_xml())

    def observe(self, *, images: bool) -> dict[str, NDArray[Any]]:
        """Observation of the present state under robomimic's names: positions in m (world), quaternions xyzw.

        Args:
            images: also render the task's cameras, (H, W, 3) uint8 each.
        """
        with _quiet():
            self.raw._get_observations(force_update=True)  # poses relative to the hand lag by one update
            raw = self.raw._get_observations(force_update=True)
        raw["object"] = raw["object-state"]
        observation: dict[str, NDArray[Any]] = {
            key: np.asarray(raw[key], dtype=np.float64) for key in self.task.low_dim_keys
        }
        if images:
            renderer, data = self._current_renderer(), self.raw.sim.data._data
            for key, camera in zip(self.task.image_keys, self.task.cameras, strict=True):
                observation[key] = renderer.render(data, camera)
        return observation

    def is_success(self) -> bool:
        """Whether robosuite's own predicate holds now."""
        return bool(self.raw._check_success())

    def stages(self, observation: Mapping[str, NDArray[Any]]) -> dict[str, bool]:
        """What is to happen on the way to success, and whether it holds in an observation; none for foreign tasks."""
        known = next((task for task in TASKS.values() if task.robosuite == self.task), None)
        return {} if known is None else {name: bool(holds) for name, holds in known.stages(observation).items()}

    def env_args(self) -> dict[str, Any]:
        """What robomimic stores to build the same environment again (JSON-serialisable)."""
        return {
            "env_name": self.task.env_name,
            "env_version": self._version,
            "type": ROBOMIMIC_ROBOSUITE_TYPE,
            "env_kwargs": {**self._kwargs, "camera_names": list(self.task.cameras)}
            | dict(zip(("camera_heights", "camera_widths"), height_and_width(self.image_size_px), strict=True)),
        }

    def close(self) -> None:
        """Free the renderer and the world."""
        self._close_renderer()
        self.raw.close()

    def _current_renderer(self) -> OffscreenRenderer:
        """A renderer of the present model; robosuite compiles a new model at every reset."""
        model = self.raw.sim.model._model
        if self._renderer is None or self._rendered_model is not model:
            self._close_renderer()
            height, width = height_and_width(self.image_size_px)
            self._renderer = OffscreenRenderer(model, width, height)
            self._rendered_model = model
        return self._renderer

    def _close_renderer(self) -> None:
        if self._renderer is not None:
            self._renderer.close()
        self._renderer = self._rendered_model = None


def _env_kwargs(suite: ModuleType, task: RobosuiteTask) -> dict[str, Any]:
    """Arguments of `robosuite.make`: no windows, no cameras, sparse reward, torque-controlled OSC_POSE."""
    with _quiet():
        controller = suite.load_composite_controller_config(controller=None, robot="Panda")
    return {
        "robots": ["Panda"] * task.num_robots,
        "controller_configs": controller,
        "control_freq": CONTROL_HZ,
        "has_renderer": False,
        "has_offscreen_renderer": False,
        "use_camera_obs": False,
        "use_object_obs": True,
        "reward_shaping": False,
        "ignore_done": True,
        "hard_reset": True,
    }


def _import_robosuite() -> ModuleType:
    """robosuite, without its start-up messages."""
    os.environ.setdefault("MUJOCO_GL", "egl")
    try:
        with _quiet():
            robosuite = importlib.import_module("robosuite")
    except Exception as error:  # a wrong mujoco or numpy surfaces as AttributeError or RuntimeError too
        raise WorldError(f"robosuite cannot be imported ({error}); install it with: {robosuite_line()}") from error
    logging.getLogger("robosuite_logs").setLevel(logging.ERROR)
    return robosuite


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep robosuite's warnings off the terminal; errors pass."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
