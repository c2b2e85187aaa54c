"""Movements from which experts are put together: go somewhere, wait, with the gripper open or closed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from sim.experts.arm import DOWN, ArmView, wrap_angle

OPEN, CLOSE = -1.0, 1.0
"""robosuite's gripper commands."""

TRANSLATION_SCALE_M = 0.05
ROTATION_SCALE_RAD = 0.5
"""What an action of 1 means to OSC_POSE."""

TRANSLATION_GAIN = 0.9
ROTATION_GAIN = 0.7
"""Share of the remaining error that is commanded at once."""
FIRM_GAIN = 2.0
"""Share commanded by a firm hand: OSC_POSE takes deltas from where the hand is, so that a steady pull (wrist torques
saturate far from the home posture) leaves an error of pull / gain."""
PULL_RATE, PULL_LIMIT_M = 0.06, 0.06
"""Share of the error by which a hand pushes harder after each control step, and the most it pushes."""
PULL_RANGE_M, PULL_DECAY, STALL_M = 0.07, 0.93, 0.0015
"""Nearer than the range a pull is learned, and farther away where the hand has moved less than STALL_M in a control
step; else this share of it is remembered from step to step."""

NEAR_M = 0.02
NOISE_GAIN_NEAR = 0.5
"""A demonstrator's hand is steadier within NEAR_M of its goal."""


@dataclass(frozen=True)
class Command:
    """What the expert means to do in one control step."""

    action: NDArray[np.float64]
    """(7,) per arm, the label, in [-1, 1]."""
    noise_gain: float | NDArray[np.float64] = 1.0
    """How much of the style's noise disturbs the execution, for all or for each number of the action."""


@dataclass(frozen=True)
class Goal:
    """Where the hand should be."""

    position_m: NDArray[np.float64]
    """(3,) of the point between the fingertips, world frame."""
    yaw_rad: float
    """Heading of the finger-opening axis."""
    approach: NDArray[np.float64] = field(default_factory=lambda: DOWN)
    """(3,) unit vector in which the palm looks."""

    @property
    def finger_axis(self) -> NDArray[np.float64]:
        """(3,) unit vector square to `approach` whose heading is `yaw_rad`."""
        level = np.array([np.cos(self.yaw_rad), np.sin(self.yaw_rad), 0.0])
        axis = level - [0.0, 0.0, level @ self.approach / self.approach[2]]
        return np.asarray(axis / np.linalg.norm(axis))


class Pull:
    """What a hand has learned to push against: the steady pull on it, which hardly depends on more than its pose.

    Learned (integrated) near a goal or where the hand is stuck, forgotten on the way.
    """

    def __init__(self) -> None:
        """Nothing learned yet."""
        self.delta_m = np.zeros(3)
        """(3,) to be added to the commanded delta, world frame."""
        self._before_m: NDArray[np.float64] | None = None

    def learn(self, position_m: NDArray[np.float64], goal_m: NDArray[np.float64]) -> None:
        """Take in where the hand (3,) is and should be (3,), once per control step."""
        error_m = goal_m - position_m
        stuck = self._before_m is not None and np.linalg.norm(position_m - self._before_m) < STALL_M
        if stuck or np.linalg.norm(error_m) < PULL_RANGE_M:
            step_m = PULL_RATE * _limit_norm(error_m, PULL_RANGE_M)
            self.delta_m = np.clip(self.delta_m + step_m, -PULL_LIMIT_M, PULL_LIMIT_M)
        else:
            self.delta_m = PULL_DECAY * self.delta_m
        self._before_m = position_m


def servo(
    arm: ArmView, goal: Goal, gripper: float, *, speed: float, turn_speed: float, gain: float = TRANSLATION_GAIN
) -> NDArray[np.float64]:
    """(7,) the action that brings the hand nearer to `goal`: a function of the present state only, hence learnable.

    Both norms saturate, so the direction of motion stays right while it is fast.
    """
    to_base = arm.R_world_base.T
    translation = to_base @ (goal.position_m - arm.position_m) * (gain / TRANSLATION_SCALE_M)
    rotation = to_base @ turn_error(arm, goal) * (ROTATION_GAIN / ROTATION_SCALE_RAD)
    action = np.concatenate([_limit_norm(translation, speed), _limit_norm(rotation, turn_speed), [gripper]])
    return np.asarray(np.clip(action, -1.0, 1.0))


def turn_error(arm: ArmView, goal: Goal) -> NDArray[np.float64]:
    """(3,) rotation vector, rad, world frame, that brings the hand into the goal's attitude."""
    if goal.approach is DOWN:
        return np.cross(arm.approach, DOWN) + [0.0, 0.0, wrap_angle(goal.yaw_rad - arm.yaw_rad)]
    here, there = _attitude(arm.finger_axis, arm.approach), _attitude(goal.finger_axis, goal.approach)
    return np.asarray(Rotation.from_matrix(there @ here.T).as_rotvec())


def push(
    arm: ArmView,
    goal: Goal,
    gripper: float,
    pull: Pull,
    *,
    speed: float,
    turn_speed: float,
    gain: float = TRANSLATION_GAIN,
) -> NDArray[np.float64]:
    """(7,) as `servo`, plus what holds against the pull."""
    action = servo(arm, goal, gripper, speed=speed, turn_speed=turn_speed, gain=gain)
    pull.learn(arm.position_m, goal.position_m)
    action[:3] = np.clip(action[:3] + arm.R_world_base.T @ pull.delta_m / TRANSLATION_SCALE_M, -1.0, 1.0)
    return action


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
    gain: float = TRANSLATION_GAIN,
    pull: Pull | None = None,
    steadiness: float = 1.0,
) -> Iterator[Command]:
    """Servo towards a goal that may move, until it is reached or `max_steps` control steps are over."""
    for _ in range(max_steps):
        now = goal()
        distance_m = float(np.linalg.norm(now.position_m - arm.position_m))
        tilt_rad = float(np.linalg.norm(np.cross(arm.approach, now.approach)))
        turned = max(abs(wrap_angle(now.yaw_rad - arm.yaw_rad)), tilt_rad) < tolerance_rad
        if distance_m < tolerance_m and turned:
            return
        if pull is None:
            action = servo(arm, now, gripper, speed=speed, turn_speed=turn_speed, gain=gain)
        else:
            action = push(arm, now, gripper, pull, speed=speed, turn_speed=turn_speed, gain=gain)
        yield Command(action, (1.0 if distance_m > NEAR_M else NOISE_GAIN_NEAR) / steadiness)


def wait(gripper: float, steps: int) -> Iterator[Command]:
    """Stay for some control steps."""
    still = np.zeros(7)
    still[6] = gripper
    for _ in range(steps):
        yield Command(still.copy(), 0.0)


def _attitude(finger_axis: NDArray[np.float64], approach: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.column_stack([finger_axis, np.cross(approach, finger_axis), approach])


def _limit_norm(vector: NDArray[np.float64], limit: float) -> NDArray[np.float64]:
    norm = float(np.linalg.norm(vector))
    return vector if norm <= limit else vector * (limit / norm)
