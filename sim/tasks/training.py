"""What the tasks' starts and observations are made of, as robosuite has them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from d2ppo_core.objects import Poses
from sim.tasks.taps import Rows, Tap, TapKind

Array = NDArray[np.float64]

HOME_Q_RAD = (0.0, math.pi / 16, 0.0, -math.pi / 2 - math.pi / 3, 0.0, math.pi - 0.2, math.pi / 4)
ARM_NOISE_RAD = 0.02
"""Standard deviation of every joint at the start."""
START_FINGERS_M = (0.020833, -0.020833)
PARKED_POSE = (10.0, 10.0, 10.0, 1.0, 0.0, 0.0, 0.0)
"""Where robosuite puts the objects of the other variants of a task."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """The beginning of an episode."""

    arm_q_rad: Array
    """(arms, 7) joint angles."""
    objects: Mapping[str, Array]
    """Name of a free joint -> (7,) position (m) and quat_wxyz, world frame."""
    geoms: Mapping[str, Mapping[str, tuple[float, ...]]] = field(default_factory=dict)
    """Name of a geom -> attributes (`size`, `pos`) unlike the saved world's: robosuite rebuilds some objects."""


def arm_taps(num_arms: int) -> dict[str, Tap]:
    """What the arms' observations are made of; the orientation is the hand body's, as robosuite has it."""
    taps: dict[str, Tap] = {}
    for arm in range(num_arms):
        fingers = tuple(f"gripper{arm}_right_finger_joint{i}" for i in (1, 2))
        taps[f"robot{arm}_eef_pos"] = Tap(TapKind.SITE_POSITION, (f"gripper{arm}_right_grip_site",))
        taps[f"robot{arm}_eef_quat"] = Tap(TapKind.BODY_QUAT_WXYZ, (f"robot{arm}_right_hand",))
        taps[f"robot{arm}_gripper_qpos"] = Tap(TapKind.QPOS, fingers)
    return taps


def hand_poses(taps: Rows, arm: int = 0) -> Poses:
    """The grip site's position and the hand's orientation, of `arm_taps`."""
    return Poses(taps[f"robot{arm}_eef_pos"], taps[f"robot{arm}_eef_quat"])


def draw_arms(rng: np.random.Generator, num_arms: int) -> Array:
    """(arms, 7) home plus noise."""
    return np.array([HOME_Q_RAD + rng.standard_normal(7) * ARM_NOISE_RAD for _ in range(num_arms)])


def yaw_quat_wxyz(yaw_rad: float) -> Array:
    """(4,) rotation about z."""
    return np.array([math.cos(yaw_rad / 2), 0.0, 0.0, math.sin(yaw_rad / 2)])
