"""Loading the saved worlds: what physics needs, or also what a camera sees."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Collection
from pathlib import Path

import mujoco

from d2ppo_core.errors import WorldError
from sim.assets.apart import never_touching
from sim.tasks import task_named


def model_path(task: str) -> Path:
    """Where the world of a task lies that batched environments step.

    Raises:
        ConfigError: there is no such task.
        WorldError: its world was never built.
    """
    path = task_named(task).training_path
    if not path.is_file():
        raise WorldError(f"no saved world for task {task!r}; run: python -m sim.assets training")
    return path


def load_picture_model(task: str) -> mujoco.MjModel:
    """The whole world, for rendering. Raises WorldError as `model_path` does."""
    return mujoco.MjModel.from_xml_path(str(model_path(task)))


def load_physics_model(task: str, *, parked: Collection[str] = (), skip_apart: bool = True) -> mujoco.MjModel:
    """The world without what is only seen: a hundredth of the memory, the same motion to the last bit.

    Args:
        task: Name of the task.
        parked: Bodies that lie outside the scene for the whole episode. They hover there and touch nothing, where
            robosuite's fall onto the floor; the rest of the world cannot tell.
        skip_apart: Leave out collision checks between bodies that can never touch (`sim.assets.apart`).

    Raises:
        WorldError: it was never built.
    """
    path = model_path(task)
    tree = ET.parse(path).getroot()
    for parent in tree.iter():
        for geom in [g for g in parent.findall("geom") if is_decoration(g)]:
            parent.remove(geom)
        for light in parent.findall("light"):
            parent.remove(light)
    for body in tree.iter("body"):
        if body.get("name") in parked:
            body.set("gravcomp", "1")
            for geom in body.iter("geom"):
                geom.attrib.update(contype="0", conaffinity="0")
    for geom in tree.iter("geom"):
        geom.attrib.pop("material", None)
    worn = {geom.get("mesh") for geom in tree.iter("geom")}
    asset = next(tree.iter("asset"))
    files: dict[str, bytes] = {}
    for node in list(asset):
        if node.tag != "mesh" or node.get("name") not in worn:
            asset.remove(node)
            continue
        source = path.parent / node.get("file", "")
        node.set("file", source.name)
        files[source.name] = source.read_bytes()
    model: mujoco.MjModel = mujoco.MjModel.from_xml_string(ET.tostring(tree, encoding="unicode"), files)
    if not skip_apart:
        return model
    contact = ET.SubElement(tree, "contact")
    for one, other in never_touching(model, task_named(task).furniture):
        ET.SubElement(contact, "exclude", body1=one, body2=other)
    return mujoco.MjModel.from_xml_string(ET.tostring(tree, encoding="unicode"), files)


def is_decoration(geom: ET.Element) -> bool:
    """Whether nothing can collide with this geom."""
    return geom.get("contype") == "0" and geom.get("conaffinity") == "0"
