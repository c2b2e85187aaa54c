"""The tasks as training sees them: many worlds at once, with robosuite's own dynamics."""

from collections.abc import Mapping

from d2ppo_core.errors import ConfigError
from sim.tasks.training.base import Start, TrainingTask
from sim.tasks.training.can import CAN
from sim.tasks.training.lift import LIFT
from sim.tasks.training.square import SQUARE
from sim.tasks.training.transport import TRANSPORT

TRAINING_TASKS: Mapping[str, TrainingTask] = {task.name: task for task in (LIFT, CAN, SQUARE, TRANSPORT)}


def training_task(name: str) -> TrainingTask:
    """The task of this name.

    Raises:
        ConfigError: there is no such task; the message lists the known ones.
    """
    if name not in TRAINING_TASKS:
        raise ConfigError(f"unknown task {name!r}; known are {', '.join(TRAINING_TASKS)}")
    return TRAINING_TASKS[name]


__all__ = ["CAN", "SQUARE", "TRAINING_TASKS", "TRANSPORT", "Start", "TrainingTask", "training_task"]
