"""What training needs of a task: robosuite's start distribution, observation and success, on arrays of many worlds."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.tasks.robosuite_task import RobosuiteTask
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


@dataclass(frozen=True, kw_only=True)
class TrainingTask(ABC):
    """One task. Everything is robosuite's; the same seed even draws the same start."""

    name: str
    robosuite: RobosuiteTask
    """Names, cameras and horizon in robosuite."""
    parked: tuple[str, ...] = ()
    """Bodies that robosuite puts outside the scene."""
    varied_body: str | None = None
    """The body whose geoms `Start.geoms` changes."""

    @property
    def num_arms(self) -> int:
        """Pandas in this world."""
        return self.robosuite.num_robots

    @property
    def action_size(self) -> int:
        """Numbers per action: 7 per arm."""
        return 7 * self.num_arms

    @property
    @abstractmethod
    def object_size(self) -> int:
        """Numbers of the observation `object`."""

    @property
    @abstractmethod
    def success_taps(self) -> Mapping[str, Tap]:
        """What `success` reads."""

    @property
    @abstractmethod
    def object_taps(self) -> Mapping[str, Tap]:
        """What `object_state` reads, in addition to the arms' taps."""

    @abstractmethod
    def success(self, taps: Rows) -> NDArray[np.bool_]:
        """Whether the task is solved, for any leading axes of the taps."""

    @abstractmethod
    def object_state(self, taps: Rows) -> Array:
        """The observation `object`, (..., object_size)."""

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> Start:
        """Draw a start; uses the generator in robosuite's order, so that equal seeds give equal starts."""

    def stages(self, observation: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.bool_]]:
        """What is to happen on the way to success, in order, and whether it holds in observations (..., n): by name.

        A task without stages to tell apart has none. All are read from the state, also where a policy sees pictures.
        """
        return {}

    @property
    def observation_taps(self) -> Mapping[str, Tap]:
        """Everything that an observation is made of."""
        return {**arm_taps(self.num_arms), **self.object_taps}

    def observe(self, taps: Rows) -> dict[str, Array]:
        """State observations as in robomimic, (..., n) each: positions in m (world), quaternions xyzw."""
        observation: dict[str, Array] = {}
        for arm in range(self.num_arms):
            observation[f"robot{arm}_eef_pos"] = taps[f"robot{arm}_eef_pos"]
            observation[f"robot{arm}_eef_quat"] = xyzw(taps[f"robot{arm}_eef_quat"])
            observation[f"robot{arm}_gripper_qpos"] = taps[f"robot{arm}_gripper_qpos"]
        return observation | {"object": self.object_state(taps)}


def arm_taps(num_arms: int) -> dict[str, Tap]:
    """What the arms' observations are made of; the orientation is the hand body's, as robosuite has it."""
    taps: dict[str, Tap] = {}
    for arm in range(num_arms):
        fingers = tuple(f"gripper{arm}_right_finger_joint{i}" for i in (1, 2))
        taps[f"robot{arm}_eef_pos"] = Tap(TapKind.SITE_POSITION, (f"gripper{arm}_right_grip_site",))
        taps[f"robot{arm}_eef_quat"] = Tap(TapKind.BODY_QUAT_WXYZ, (f"robot{arm}_right_hand",))
        taps[f"robot{arm}_gripper_qpos"] = Tap(TapKind.QPOS, fingers)
    return taps


def draw_arms(rng: np.random.Generator, num_arms: int) -> Array:
    """(arms, 7) home plus noise."""
    return np.array([HOME_Q_RAD + rng.standard_normal(7) * ARM_NOISE_RAD for _ in range(num_arms)])


def yaw_quat_wxyz(yaw_rad: float) -> Array:
    """(4,) rotation about z."""
    return np.array([math.cos(yaw_rad / 2), 0.0, 0.0, math.sin(yaw_rad / 2)])


def xyzw(quat_wxyz: Array) -> Array:
    """Reorder (..., 4) quaternions; the sign stays."""
    return np.concatenate([quat_wxyz[..., 1:], quat_wxyz[..., :1]], axis=-1)
