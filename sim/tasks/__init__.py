"""The tasks: what is on the table, where it starts, when it counts as solved. Each is defined once, here."""

from d2ppo_core.errors import WorldError
from sim.tasks.base import Task
from sim.tasks.lift import LIFT
from sim.tasks.trained import CAN_TASK, SQUARE_TASK, TRANSPORT_TASK

TASKS: dict[str, Task] = {task.name: task for task in (LIFT, CAN_TASK, SQUARE_TASK, TRANSPORT_TASK)}


def task_named(name: str) -> Task:
    """The task of this name; raises WorldError that lists the known ones."""
    if name not in TASKS:
        raise WorldError(f"no task {name!r}; known: {', '.join(sorted(TASKS))}")
    return TASKS[name]
