"""Which tasks there are: the shipped ones, and users' own, each a folder that an entry point or its path names.

No simulator is needed to find one. A folder that was named by its path is known by its name from then on, in this
process and in those that it starts.
"""

from __future__ import annotations

import importlib.util
import os
import re
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

from d2ppo_core.errors import ConfigError

SHIPPED = ("lift", "can", "square", "transport")
GROUP = "d2ppo.tasks"
"""Entry-point group: `<name of the task> = "<package that is its folder>"`."""
VARIABLE = "D2PPO_TASKS"
"""Folders of tasks, separated as in PATH; every folder that is named by its path joins them."""
TASK_FILE, WORLD_FILE, CONFIG_FILE, CELL_FILE = "task.py", "world.xml", "state.yaml", "cell.yaml"
PARTS = {
    TASK_FILE: "start and success",
    WORLD_FILE: "what is on the table",
    CELL_FILE: "where a Panda may move; cell_fr3.yaml: an FR3",
    CONFIG_FILE: "how a policy is trained",
}
"""What a folder holds."""
_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, kw_only=True)
class TaskFolder:
    """A user's own task.

    Raises:
        ConfigError: no name that a task can have, or a part is missing.
    """

    name: str
    path: Path
    """Absolute."""

    def __post_init__(self) -> None:
        """Check what can be checked without a simulator."""
        if not _NAME.fullmatch(self.name) or self.name in SHIPPED:
            wanted = "small letters, digits and _, and none of " + ", ".join(SHIPPED)
            raise ConfigError(f"{self.path}: a task cannot be called {self.name!r}; wanted {wanted}")
        if missing := [name for name in PARTS if not (self.path / name).is_file()]:
            lacks = "; ".join(f"{name} ({PARTS[name]})" for name in missing)
            raise ConfigError(f"{self.path}: this folder of a task lacks {lacks}")

    @property
    def config(self) -> str:
        """Path of the configuration that a state policy is trained by."""
        return str(self.path / CONFIG_FILE)


def folder_of(task: str) -> TaskFolder | None:
    """Return the folder of a task by its name or path; None for a shipped one.

    Raises:
        ConfigError: there is no such task, or its folder lacks a part.
    """
    if task in SHIPPED:
        return None
    if Path(task).is_dir() and (os.sep in task or task not in known_tasks()):
        return _remembered(Path(task).absolute())
    for path in _listed():
        if path.name == task:
            return TaskFolder(name=task, path=path)
    for point in entry_points(group=GROUP, name=task):
        return TaskFolder(name=task, path=_package(point.name, point.value))
    raise ConfigError(f"unknown task {task!r}; known are {', '.join(known_tasks())}, or the path of a task's folder")


def named(task: str) -> tuple[str, str]:
    """Return what a task is called, given by its name or path, and the name or path of its usual configuration.

    A task that nobody knows has none: its demonstrations can be cloned all the same, with a configuration.

    Raises:
        ConfigError: a folder that lacks a part.
    """
    if task in SHIPPED:
        return task, f"{task}_state"
    if os.sep not in task and not Path(task).is_dir() and task not in known_tasks():
        return task, ""
    folder = folder_of(task)
    assert folder is not None
    return folder.name, folder.config


def known_tasks() -> tuple[str, ...]:
    """Return the names of all tasks, the shipped ones first."""
    own = sorted({point.name for point in entry_points(group=GROUP)} | {path.name for path in _listed()})
    return (*SHIPPED, *own)


def _listed() -> list[Path]:
    return [Path(path) for path in os.environ.get(VARIABLE, "").split(os.pathsep) if path]


def _remembered(path: Path) -> TaskFolder:
    folder = TaskFolder(name=Path(os.path.normpath(path)).name, path=Path(os.path.normpath(path)))
    others = [str(other) for other in _listed() if other != folder.path]
    os.environ[VARIABLE] = os.pathsep.join([str(folder.path), *others])
    return folder


def _package(name: str, value: str) -> Path:
    try:
        spec = importlib.util.find_spec(value)
    except ImportError as error:
        raise ConfigError(f"task {name}: its entry point names {value}, which cannot be imported: {error}") from error
    places = list(spec.submodule_search_locations or []) if spec else []
    if not places:
        raise ConfigError(f"task {name}: its entry point names {value}; wanted a package that is the task's folder")
    return Path(places[0])
