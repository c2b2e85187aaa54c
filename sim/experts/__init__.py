"""Scripted demonstrators: generators that read the simulator's true state and yield labelled actions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from d2ppo_core.errors import ConfigError
from sim.experts.can import can
from sim.experts.lift import lift
from sim.experts.primitives import Command
from sim.experts.scene import Scene
from sim.experts.square import square
from sim.experts.style import ActionNoise, Style
from sim.experts.transport import transport
from sim.tasks import task_named
from sim.tasks.own import OwnTask

Expert = Callable[[Scene, Style], Iterator[Command]]
"""Takes a scene and a style; ends when it believes that the task is done or lost."""

EXPERTS: Mapping[str, Expert] = {"lift": lift, "can": can, "square": square, "transport": transport}


def expert_for(task: str) -> Expert:
    """The demonstrator of a task.

    Raises:
        ConfigError: there is no such task, or nobody has written a demonstrator of it.
    """
    known = task_named(task)
    expert = known.expert if isinstance(known, OwnTask) else EXPERTS.get(known.name)
    if expert is None:
        raise ConfigError(f"no scripted expert for task {known.name}; give its TASK one: expert=...")
    return expert


__all__ = ["EXPERTS", "ActionNoise", "Command", "Expert", "Scene", "Style", "expert_for"]
