"""What a node's parameters say about the task, and what follows from it: bundle, cell, cameras."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from d2ppo_core.bundle import Manifest, load_bundle
from d2ppo_core.errors import BundleError, ConfigError
from d2ppo_core.runtime.inference.setting import Setting
from d2ppo_core.runtime.safety.cell import Cell, load_cell
from d2ppo_core.runtime.safety.robots import robot_named
from d2ppo_core.task_folders import named
from d2ppo_nodes.driven import arm_names
from d2ppo_nodes.lifecycle import StackNode

if TYPE_CHECKING:
    from sim.tasks.base import Task

_BUNDLE, TASK = "lift_image", "lift"
"""What a node started by hand gets that says neither task nor bundle, or cell."""


def task_of(node: StackNode, default: str = "") -> Task | None:
    """The task of a node; None where it names none. A real stack needs none, and no simulator then.

    Raises:
        ConfigError: there is no such task.
    """
    name = node.text("task") or default
    if not name:
        return None
    from sim.tasks import task_named

    return task_named(name)


def bundle_of(node: StackNode) -> str:
    """The bundle that was named, or else the task's.

    Raises:
        ConfigError: neither names one, or the task has other arms than the policy node moves.
    """
    if bundle := node.text("bundle"):
        return bundle
    task = task_of(node)
    if task is not None:
        _refuse_other_arms(task, num_arms(node))
    if task is not None and not task.bundle:
        raise ConfigError(f"task {task.name} has no policy yet; name one with bundle:=...")
    return task.bundle if task else _BUNDLE


def image_topic(camera: str) -> str:
    """Where the pictures of a camera are, at its own size."""
    return f"camera/{camera}/color/image_raw"


def policy_topic(camera: str) -> str:
    """Where what a policy sees of them is."""
    return f"camera/{camera}/policy/image_raw"


def seen_camera(node: StackNode, bundle: str) -> str:
    """Name on the graph of the simulated camera that a bundle's policy sees through; without one the task's first.

    Raises:
        ConfigError: there is no such task.
        BundleError: the bundle cannot be read.
    """
    task = task_of(node, TASK)
    assert task is not None
    names = {camera: name for name, camera in task.cameras.items()}
    seen = load_bundle(bundle).manifest.cameras if bundle else ()
    return next((names[camera] for camera in seen if camera in names), next(iter(task.cameras)))


def cell_name(node: StackNode, default_task: str = "") -> str:
    """Name or path of the cell that was named, or else the task's for this robot and arm; empty for neither.

    Raises:
        ConfigError: the task has no such arm.
    """
    if cell := node.text("cell"):
        return cell
    task = task_of(node, default_task)
    if task is None:
        return ""
    arm = node.text("arm") or task.arms[0]
    if arm not in task.arms:
        raise ConfigError(f"parameter arm must be one of {', '.join(task.arms)} in task {task.name}, got {arm!r}")
    return _task_cell(node, task, task.arms.index(arm))


def _task_cell(node: StackNode, task: Task, arm: int) -> str:
    robot = node.text("robot")
    return task.cell(robot_named(robot).name if robot else "", arm)


def _cells_of_all(node: StackNode, arms: tuple[str, ...]) -> tuple[str, ...]:
    """The cells of a policy node's arms, those that were named or else the task's; empty for neither.

    Raises:
        ConfigError: not one for each of its arms was named.
    """
    if len(arms) < 2:
        cell = cell_name(node)
        return (cell,) if cell else ()
    named, task = tuple(node.text("cell").replace(",", " ").split()), task_of(node)
    if named and len(named) != len(arms):
        raise ConfigError(f"parameter cell must name the cell of each of {', '.join(arms)}, got {', '.join(named)}")
    return named or (tuple(_task_cell(node, task, arm) for arm in range(len(arms))) if task else ())


def read_cell(node: StackNode) -> Cell:
    """Read where the robot of an arm node stands; only a simulated one may leave it open."""
    address = node.text("robot_address")
    simulated = address.startswith("127.")
    if not node.text("cell") and not simulated:
        raise ConfigError(f"parameter cell must name the cell of the robot at {address}; see launch/cells")
    name = cell_name(node, TASK)
    cell = load_cell(name)
    robot = node.text("robot")
    if robot and robot_named(robot).name != cell.robot:
        raise ConfigError(f"parameter robot says {robot}, the cell {name} a {cell.robot}")
    low = tuple(node.numbers("workspace_min_m")) or cell.workspace_min_m
    high = tuple(node.numbers("workspace_max_m")) or cell.workspace_max_m
    return replace(cell, workspace_min_m=low, workspace_max_m=high)


def num_arms(node: StackNode) -> int:
    """How many arms a policy node moves."""
    return max(1, len(arm_names(node)))


def _refuse_other_arms(task: Task, count: int) -> None:
    if task.num_arms != count:
        arms = "one arm" if task.num_arms == 1 else f"{task.num_arms} arms"
        moved = "one" if count == 1 else str(count)
        raise ConfigError(f"task {task.name} has {arms}, this stack's policy moves {moved}")


def setting_of(node: StackNode) -> Setting:
    """What the stack of a policy node is set up for.

    Raises:
        ConfigError: there is no such task, or cell, or the task has other arms than the policy node moves.
    """
    arms = arm_names(node)
    cells = _cells_of_all(node, arms)
    cameras = tuple(name.strip() for name in node.text("cameras").split(",") if name.strip())
    if not cameras and (task := task_of(node)) is not None:
        _refuse_other_arms(task, num_arms(node))
        cameras = tuple(task.cameras)
    bases = [base for cell in cells if (base := load_cell(cell).T_world_base) is not None]
    return Setting(
        task=named(node.text("task"))[0] if node.text("task") else "",
        num_arms=num_arms(node),
        cameras=cameras,
        cell="+".join(cells),
        T_world_base=np.array(bases) if bases and len(bases) == len(cells) else None,
    )


def check_fit(node: StackNode, manifest: Manifest) -> None:
    """Refuse a bundle of another task, arm count, camera or place than a policy node's; if forced to take it, say so.

    Raises:
        BundleError: it does not belong here; the line names both sides.
        ConfigError: what the parameters say about the stack contradicts itself.
    """
    setting = setting_of(node)
    topics = {camera: node.resolve_topic_name(policy_topic(camera)) for camera in manifest.cameras}
    seen = {camera: topic.split("/")[-3] for camera, topic in topics.items()}
    if manifest.num_arms != setting.num_arms:  # no force makes up for an arm
        raise BundleError(setting.misfits(manifest, seen))
    if not node.flag("force"):
        setting.check(manifest, seen)
    elif misfits := setting.misfits(manifest, seen):
        node.get_logger().warning(f"{misfits}; forced to run it all the same")
