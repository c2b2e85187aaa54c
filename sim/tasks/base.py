"""What a task has to define."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np
from numpy.typing import NDArray

ASSETS = Path(__file__).parents[1] / "assets"
"""The saved worlds, a folder per task."""


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """A world on disk, a start distribution and a success predicate."""

    name: str
    model_path: Path
    """MJCF file, loadable with MuJoCo alone."""
    arms: tuple[str, ...] = ("arm",)
    """What the arms are called, in the order of the model's."""
    home_q_rad: tuple[float, ...]
    """(7,) joint angles of each arm at the start of an episode."""
    start_width_m: float
    """Opening of each gripper at the start of an episode."""
    cameras: Mapping[str, str]
    """Camera name on the graph -> camera of the model."""

    @abstractmethod
    def sample_start(self, rng: np.random.Generator) -> dict[str, NDArray[np.float64]]:
        """Draw a start: name of a free joint -> (7,) position (m) and quat_wxyz in the world frame."""

    @abstractmethod
    def is_success(self, data: mujoco.MjData) -> bool:
        """Whether the task is solved in this state (kinematics up to date)."""
