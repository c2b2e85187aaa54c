"""The low-pass filters that a client may ask a Panda to put before its generators and controllers (SetFilters)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.fci.reference import DT_S, difference

Vector = NDArray[np.float64]

LOWEST_HZ, HIGHEST_HZ = 1.0, 1000.0


def gain(cutoff_hz: float) -> float:
    """Share of a new value in the filtered one; at the highest frequency nothing is filtered."""
    if cutoff_hz >= HIGHEST_HZ:
        return 1.0
    return DT_S / (DT_S + 1.0 / (2.0 * math.pi * cutoff_hz))


@dataclass
class Filters:
    """Gains in the order of the request."""

    joint_position: float = 1.0
    joint_velocity: float = 1.0
    cartesian_position: float = 1.0
    cartesian_velocity: float = 1.0
    torque: float = 1.0


def blended(share: float, new: Vector, old: Vector) -> Vector:
    """The new value as a filter with this gain lets it through."""
    return new if share == 1.0 else share * new + (1.0 - share) * old


def blended_pose(share: float, new: Vector, old: Vector) -> Vector:
    """(4, 4) the same for poses."""
    if share == 1.0:
        return new
    step = share * difference(new, old)
    angle = float(np.linalg.norm(step[3:]))
    pose = old.copy()
    pose[:3, 3] += step[:3]
    if angle > 0.0:
        x, y, z = step[3:] / angle
        cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
        turn = np.eye(3) + math.sin(angle) * cross + (1.0 - math.cos(angle)) * cross @ cross
        pose[:3, :3] = turn @ old[:3, :3]
    return pose
