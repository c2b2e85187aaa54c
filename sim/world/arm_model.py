"""Which robot a world holds. The committed worlds have a Panda; an FR3 is as long and looks alike, but its links weigh
more and its joints travel otherwise.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import mujoco
import yaml

from d2ppo_core.errors import WorldError
from d2ppo_core.runtime.safety.robots import PANDA, Robot, robot_named

_FR3_INERTIALS = Path(__file__).parents[1] / "assets" / "fr3" / "inertials.yaml"


def load_model(path: Path, robot: str) -> mujoco.MjModel:
    """Compile the world of a file with this robot's arms in it.

    Raises:
        WorldError: the file is missing or no model.
        ConfigError: there is no such robot.
    """
    try:
        if robot_named(robot) is PANDA:
            return mujoco.MjModel.from_xml_path(str(path))
        return _with(mujoco.MjSpec.from_file(str(path)), robot_named(robot))
    except ValueError as error:
        raise WorldError(f"cannot load {path.name}: {error}") from error


def model_from_text(xml: str, robot: str) -> mujoco.MjModel:
    """The same for a model without meshes, from its text."""
    if robot_named(robot) is PANDA:
        return mujoco.MjModel.from_xml_string(xml)
    return _with(mujoco.MjSpec.from_string(xml), robot_named(robot))


def _with(spec: mujoco.MjSpec, robot: Robot) -> mujoco.MjModel:
    for body in spec.bodies:
        arm, _, link = body.name.partition("_")
        if not arm.startswith("robot") or link not in _inertials():
            continue
        inertial = _inertials()[link]
        body.mass, body.ipos, body.fullinertia = inertial["mass_kg"], inertial["com_m"], inertial["inertia_kg_m2"]
        for joint in body.joints:
            index = int(link.removeprefix("link")) - 1
            joint.range = robot.q_min_rad[index], robot.q_max_rad[index]
    return spec.compile()


@cache
def _inertials() -> dict[str, dict[str, float | list[float]]]:
    content: dict[str, dict[str, float | list[float]]] = yaml.safe_load(_FR3_INERTIALS.read_text(encoding="utf-8"))
    return content
