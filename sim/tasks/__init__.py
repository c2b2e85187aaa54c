"""The tasks: what is on the table, where it starts, when it counts as solved. Each is defined once, in its file."""

from collections.abc import Mapping

from d2ppo_core.errors import ConfigError
from sim.tasks.base import Task
from sim.tasks.can import CAN
from sim.tasks.lift import LIFT
from sim.tasks.square import SQUARE
from sim.tasks.transport import TRANSPORT

TASKS: Mapping[str, Task] = {task.name: task for task in (LIFT, CAN, SQUARE, TRANSPORT)}


def task_named(name: str) -> Task:
    """The task of this name; raises ConfigError that lists the known ones."""
    if name not in TASKS:
        raise ConfigError(f"unknown task {name!r}; known are {', '.join(TASKS)}")
    return TASKS[name]
