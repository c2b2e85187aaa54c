"""An arm of a world without the world: what its own controller knows of it."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from functools import cache
from pathlib import Path

import mujoco

from d2ppo_core.errors import WorldError
from sim.tasks import task_named
from sim.world.arm_model import model_from_text

_LOOKS = ("geom", "camera", "light")
_APART = ("asset", "actuator", "contact", "tendon", "equality", "sensor")


def bare_arm_model(task: str = "lift", arm: int = 0, robot: str = "panda") -> mujoco.MjModel:
    """The arm and the hand of a task's world without shapes, table and objects: frames, joints and masses are left.

    Raises:
        WorldError: there is no such task or arm.
    """
    return bare_model(task_named(task).model_path, arm, robot)


@cache
def bare_model(path: Path, arm: int = 0, robot: str = "panda") -> mujoco.MjModel:
    """The same for a model file. Whatever the arm's number, its parts are called as those of the first."""
    text = path.read_text(encoding="utf-8")
    if arm:
        old = f"robot{arm}_"
        text = text.replace("robot0_", "other_").replace("gripper0_", "other_").replace('"O_T_EE"', '"other_O_T_EE"')
        text = text.replace(f"{old}O_T_EE", "O_T_EE").replace(old, "robot0_").replace(f"gripper{arm}_", "gripper0_")
    root = ET.fromstring(text)
    for parent in [root, *root.iter("body")]:
        for child in [c for c in parent if c.tag in (*_LOOKS, *_APART)]:
            parent.remove(child)
    for world in root.iter("worldbody"):
        for child in [c for c in world if c.get("name") != "robot0_base"]:
            world.remove(child)
        if not len(world):
            raise WorldError(f"{path.name} has no arm number {arm}")
    return model_from_text(ET.tostring(root, encoding="unicode"), robot)
