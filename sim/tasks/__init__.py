"""The tasks: what is on the table, where it starts, when it counts as solved. Each is defined once, in its file.

The shipped ones are here; users' own are found by `d2ppo_core.task_folders`.
"""

from collections.abc import Mapping

from d2ppo_core.task_folders import folder_of
from sim.tasks.base import Task
from sim.tasks.can import CAN
from sim.tasks.lift import LIFT
from sim.tasks.own import own_task
from sim.tasks.square import SQUARE
from sim.tasks.transport import TRANSPORT

TASKS: Mapping[str, Task] = {task.name: task for task in (LIFT, CAN, SQUARE, TRANSPORT)}
"""The shipped ones."""


def task_named(task: str) -> Task:
    """The task of this name; a user's own also by the path of its folder.

    Raises:
        ConfigError: there is none, or its folder lacks a part; the line lists the known ones.
        WorldError: a user's own, whose parts do not fit each other.
    """
    folder = folder_of(task)
    return own_task(folder) if folder else TASKS[task]
