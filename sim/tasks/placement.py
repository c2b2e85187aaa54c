"""robosuite's placement of objects: one after the other, uniformly, not on top of each other."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from d2ppo_core.errors import WorldError
from sim.tasks.training import Array, yaw_quat_wxyz

MAX_TRIES = 5000


@dataclass(frozen=True, kw_only=True)
class Item:
    """An object, as its neighbours see it."""

    joint: str
    radius_m: float
    """Horizontal."""
    top_m: float
    bottom_m: float
    """Above and below its origin; the bottom is negative."""


@dataclass(frozen=True, kw_only=True)
class Region:
    """Where the origins of objects may be: ranges around a reference. robosuite's order of adding, to the last bit."""

    x_m: tuple[float, float]
    y_m: tuple[float, float]
    reference_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """The third is the height on which the objects are put."""
    drop_m: float = 0.0
    """Distance that they fall."""
    keep_inside: bool = False
    """Shrink the region by each object's radius."""


def place(
    rng: np.random.Generator, item: Item, region: Region, placed: dict[str, tuple[Item, Array]]
) -> tuple[Item, Array]:
    """Draw a pose and remember it among the `placed`.

    Returns:
        The item and its (7,) pose, quat_wxyz.

    Raises:
        WorldError: there is no room.
    """
    margin = item.radius_m if region.keep_inside else 0.0
    reference_x, reference_y, reference_z = region.reference_m
    z = region.drop_m + reference_z - item.bottom_m
    for _ in range(MAX_TRIES):
        x = rng.uniform(region.x_m[0] + margin, region.x_m[1] - margin) + reference_x
        y = rng.uniform(region.y_m[0] + margin, region.y_m[1] - margin) + reference_y
        if not any(_overlap(item, (x, y, z), other, pose) for other, pose in placed.values()):
            pose = np.array([x, y, z, *yaw_quat_wxyz(rng.uniform(0.0, 2.0 * math.pi))])
            placed[item.joint] = item, pose
            return placed[item.joint]
    raise WorldError(f"there is no room for {item.joint}")


def _overlap(item: Item, position: tuple[float, float, float], other: Item, pose: Array) -> bool:
    apart = math.hypot(position[0] - pose[0], position[1] - pose[1])
    stacked = position[2] - pose[2] <= other.top_m - item.bottom_m
    return apart <= other.radius_m + item.radius_m and bool(stacked)
