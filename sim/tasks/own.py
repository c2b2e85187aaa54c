"""A task of the user's own: a folder with a scene, a Python file (start and success), a cell and a configuration.

The Python file defines `TASK`, an `OwnTask`. What it does wrong is one line, wherever it turns up.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from d2ppo_core.errors import ConfigError, WorldError
from d2ppo_core.objects import TOUCH, ObjectPart, Poses, names_in, object_state, size_of
from d2ppo_core.task_folders import CELL_FILE, TASK_FILE, WORLD_FILE, TaskFolder
from sim.tasks.base import Task
from sim.tasks.robosuite_task import RobosuiteTask
from sim.tasks.scene import Worlds, build_worlds
from sim.tasks.taps import GeomGroups, Rows, Tap, TapKind, read, resolve
from sim.tasks.training import Array, Start, hand_poses

GUARDED = ("draw", "success")
"""What the user's code says; its exceptions become one line that names the task."""


@dataclass(frozen=True, kw_only=True)
class OwnTask(Task):
    """One arm and free bodies before it; a subclass says by `draw` where they start and by `success` when all is done.

    `success` reads `<name>_pos` (..., 3) and `<name>_quat` (..., 4; wxyz) of every body, and `robot0_eef_pos` (..., 3),
    the point between the fingertips; all in the world, m. More by overriding `success_taps`.
    """

    name: str = ""
    """That of the folder."""
    folder: Path = Path()
    robosuite: RobosuiteTask = field(init=False)
    bodies: Mapping[str, str]
    """What perception calls the objects -> their bodies in the MJCF file."""
    recipe: tuple[ObjectPart, ...]
    """What the observation `object` is put together from."""
    horizon_steps: int = 300
    """Control steps, 20 per second, after which an episode has failed."""
    seen: tuple[str, ...] = ("robot0_eye_in_hand",)
    """Cameras of the model whose pictures an image policy sees."""
    expert: Callable[..., Iterator[Any]] | None = None
    """The scripted demonstrator, `expert(scene, style)`, if there is one (sim.experts)."""

    def __init_subclass__(cls) -> None:
        """Guard what a user's class says."""
        super().__init_subclass__()
        for name in GUARDED:
            if name in vars(cls):
                setattr(cls, name, _guarded(vars(cls)[name]))

    def __post_init__(self) -> None:
        """Raise ConfigError where the recipe names what is none of the bodies, or touches or a second hand."""
        description = RobosuiteTask(env_name=self.name, cameras=self.seen, horizon_steps=self.horizon_steps)
        object.__setattr__(self, "robosuite", description)
        if any(part.what == TOUCH or part.arm for part in self.recipe):
            raise ConfigError(f"recipe: wanted positions and turns before one arm, got a {TOUCH} or a second arm")
        if strange := [name for name in names_in(self.recipe) if name not in self.bodies]:
            raise ConfigError(f"recipe: {strange[0]} is none of the bodies {', '.join(self.bodies)}")

    @property
    def in_robosuite(self) -> bool:
        """Robosuite does not know it."""
        return False

    @property
    def model_path(self) -> Path:
        """As `Task.model_path`."""
        return self._worlds.live

    @property
    def training_path(self) -> Path:
        """As `Task.training_path`."""
        return self._worlds.training

    @property
    def furniture(self) -> tuple[str, ...] | None:
        """As `Task.furniture`: of what a user puts there nobody knows what reaches it."""
        return ("table",)

    @property
    def object_size(self) -> int:
        """As the recipe has it."""
        return size_of(self.recipe)

    @property
    def objects(self) -> Mapping[str, str]:
        """The bodies."""
        return self.bodies

    @property
    def success_taps(self) -> Mapping[str, Tap]:
        """All poses, and where the hand is."""
        hand = {"robot0_eef_pos": Tap(TapKind.SITE_POSITION, ("gripper0_right_grip_site",))}
        return {**hand, **self.object_taps}

    @property
    def object_taps(self) -> Mapping[str, Tap]:
        """All poses."""
        taps: dict[str, Tap] = {}
        for name, body in self.bodies.items():
            taps[f"{name}_pos"] = Tap(TapKind.BODY_POSITION, (body,))
            taps[f"{name}_quat"] = Tap(TapKind.BODY_QUAT_WXYZ, (body,))
        return taps

    def object_state(self, taps: Rows) -> Array:
        """The observation `object`, by the recipe."""
        poses = {name: Poses(taps[f"{name}_pos"], taps[f"{name}_quat"]) for name in self.bodies}
        return object_state(self.recipe, poses, hand_poses(taps))

    @cached_property
    def _worlds(self) -> Worlds:
        return build_worlds(self.folder / WORLD_FILE)


def _guarded(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def guarded(self: OwnTask, *arguments: Any) -> Any:
        try:
            return method(self, *arguments)
        except Exception as error:  # of the user's code: anything
            raise WorldError(f"task {self.name}: {method.__name__} raised {_said(error)}") from error

    return guarded


def _said(error: Exception) -> str:
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error}"  # with file and line
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(place.filename).name}, line {place.lineno})"


@cache
def own_task(folder: TaskFolder) -> OwnTask:
    """The task of a folder, looked through once: its world compiles, a start can be drawn and judged.

    Raises:
        ConfigError: the Python file does not define a task.
        WorldError: the world does not compile or lacks what the task names, or start or success are of no use.
    """
    found = getattr(_module(folder), "TASK", None)
    if not isinstance(found, OwnTask):
        raise ConfigError(f"{folder.path / TASK_FILE}: wanted TASK = <an OwnTask>, got {found!r}")
    task = replace(found, name=folder.name, folder=folder.path, cells=found.cells or (str(folder.path / CELL_FILE),))
    _look_through(task)
    return task


def _module(folder: TaskFolder) -> Any:
    path = folder.path / TASK_FILE
    name = f"d2ppo_task_{folder.name}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # of the user's code: anything
        raise ConfigError(f"{path}: {_said(error)}") from error
    return module


def _look_through(task: OwnTask) -> None:
    scene = task.folder / WORLD_FILE
    try:
        model = mujoco.MjModel.from_xml_path(str(task.training_path))
    except ValueError as error:
        raise WorldError(f"{scene}: {error}") from error
    data, groups = mujoco.MjData(model), GeomGroups(model)
    try:
        taps = resolve(model, {**task.observation_taps, **task.success_taps}, groups)
    except WorldError as error:
        raise WorldError(f"{scene}: {error}") from error
    start = task.draw(np.random.default_rng(0))
    _check_start(task, model, start)
    for joint, pose in start.objects.items():
        address = int(model.joint(joint).qposadr[0])
        data.qpos[address : address + 7] = pose
    mujoco.mj_forward(model, data)
    row = np.empty(taps.width)
    read(data, taps, groups.masks, row)
    for rows in (row, np.stack([row, row])):  # of one world, and of two
        solved = task.success(taps.split(rows))
        if not isinstance(solved, (np.ndarray, np.bool_)) or solved.dtype != bool or solved.shape != rows.shape[:-1]:
            raise WorldError(f"task {task.name}: success must be true or false of every world, got {solved!r}")


def _check_start(task: OwnTask, model: mujoco.MjModel, start: Any) -> None:
    if not isinstance(start, Start) or np.shape(start.arm_q_rad) != (1, 7):
        raise WorldError(f"task {task.name}: draw must return a Start with arm_q_rad (1, 7), got {start!r}")
    free = {model.joint(i).name for i in range(model.njnt) if model.jnt_type[i] == mujoco.mjtJoint.mjJNT_FREE}
    if set(start.objects) != free:
        placed, there = (", ".join(sorted(names)) or "none" for names in (start.objects, free))
        raise WorldError(f"task {task.name}: draw places {placed}; the free joints of {WORLD_FILE} are {there}")
    for joint, pose in start.objects.items():
        if np.shape(pose) != (7,) or not np.isfinite(pose).all():
            raise WorldError(
                f"task {task.name}: draw must place {joint} by 7 numbers (position, quat_wxyz), got {pose!r}"
            )
