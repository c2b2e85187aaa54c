"""The tasks: what is on the table, where it starts, when it counts as solved. Each is defined once, in its file."""

from collections.abc import Mapping

from d2ppo_core.errors import ConfigError, WorldError
from sim.tasks.base import Task
from sim.tasks.can import CAN, CAN_TASK
from sim.tasks.lift import LIFT, LIFT_TASK
from sim.tasks.square import SQUARE, SQUARE_TASK
from sim.tasks.training import TrainingTask
from sim.tasks.transport import TRANSPORT, TRANSPORT_TASK

TASKS: Mapping[str, Task] = {task.name: task for task in (LIFT_TASK, CAN_TASK, SQUARE_TASK, TRANSPORT_TASK)}
"""As they are deployed: one live world."""
TRAINING_TASKS: Mapping[str, TrainingTask] = {task.name: task for task in (LIFT, CAN, SQUARE, TRANSPORT)}
"""As training sees them: many worlds at once, with robosuite's own dynamics."""


def task_named(name: str) -> Task:
    """The task of this name; raises WorldError that lists the known ones."""
    if name not in TASKS:
        raise WorldError(f"no task {name!r}; known: {', '.join(sorted(TASKS))}")
    return TASKS[name]


def training_task(name: str) -> TrainingTask:
    """The same as training sees it; raises ConfigError that lists the known ones."""
    if name not in TRAINING_TASKS:
        raise ConfigError(f"unknown task {name!r}; known are {', '.join(TRAINING_TASKS)}")
    return TRAINING_TASKS[name]
