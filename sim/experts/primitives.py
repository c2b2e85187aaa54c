"""Movements from which experts are put together: go somewhere, wait, with the gripper open or closed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.experts.arm import DOWN, ArmView, wrap_angle

OPEN, CLOSE = -1.0, 1.0
"""robosuite's gripper commands."""

TRANSLATION_SCALE_M = 0.05
ROTATION_SCALE_RAD = 0.5
"""What an action of 1 means to OSC_POSE."""

TRANSLATION_GAIN = 0.9
ROTATION_GAIN = 0.7
"""Share of the remaining error that is commanded at once."""

NEAR_M = 0.02
NOISE_GAIN_NEAR = 0.5
"""A demonstrator's hand is steadier within NEAR_M of its goal."""


@dataclass(frozen=True)
class Command:
    """What the expert means to do in one control step."""

    action: NDArray[np.float64]
    """(7,) the label, in [-1, 1]."""
    noise_gain: float = 1.0
    """How much of the style's noise disturbs the execution."""


@dataclass(frozen=True, kw_only=True)
class Goal:
    """Where the hand should be."""

    position_m: NDArray[np.float64]
    """(3,) of the point between the fingertips, world frame."""
    yaw_rad: float
    """Heading of the finger-opening axis."""


def servo(arm: ArmView, goal: Goal, gripper: float, *, speed: float, turn_speed: float) -> NDArray[np.float64]:
    """(7,) the action that brings the hand nearer to `goal`: a function of the present state only, hence learnable.

    Both norms saturate, so the direction of motion stays right while it is fast.
    """
    to_base = arm.R_world_base.T
    translation = to_base @ (goal.position_m - arm.position_m) * (TRANSLATION_GAIN / TRANSLATION_SCALE_M)
    turn = np.array([0.0, 0.0, wrap_angle(goal.yaw_rad - arm.yaw_rad)])
    rotation = to_base @ (np.cross(arm.approach, DOWN) + turn) * (ROTATION_GAIN / ROTATION_SCALE_RAD)
    action = np.concatenate([_limit_norm(translation, speed), _limit_norm(rotation, turn_speed), [gripper]])
    return np.clip(action, -1.0, 1.0)


def move_to(
    arm: ArmView,
    goal: Callable[[], Goal],
    gripper: float,
    *,
    speed: float,
    turn_speed: float,
    tolerance_m: float,
    tolerance_rad: float = 0.15,
    max_steps: int = 80,
) -> Iterator[Command]:
    """Servo towards a goal that may move, until it is reached or `max_steps` control steps are over."""
    for _ in range(max_steps):
        now = goal()
        distance_m = float(np.linalg.norm(now.position_m - arm.position_m))
        turned = abs(wrap_angle(now.yaw_rad - arm.yaw_rad)) < tolerance_rad
        if distance_m < tolerance_m and turned:
            return
        action = servo(arm, now, gripper, speed=speed, turn_speed=turn_speed)
        yield Command(action, 1.0 if distance_m > NEAR_M else NOISE_GAIN_NEAR)


def wait(gripper: float, steps: int) -> Iterator[Command]:
    """Stay for some control steps."""
    still = np.zeros(7)
    still[6] = gripper
    for _ in range(steps):
        yield Command(still.copy(), 0.0)


def _limit_norm(vector: NDArray[np.float64], limit: float) -> NDArray[np.float64]:
    norm = float(np.linalg.norm(vector))
    return vector if norm <= limit else vector * (limit / norm)
