"""What a task is: one thing from the first demonstration to the last live episode."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from d2ppo_core.objects import xyzw
from sim.tasks.robosuite_task import RobosuiteTask
from sim.tasks.taps import GeomGroups, ResolvedTaps, Rows, Tap, read, resolve
from sim.tasks.training import HOME_Q_RAD, START_FINGERS_M, Array, Start, arm_taps

ASSETS = Path(__file__).parents[1] / "assets"
"""The saved worlds, a folder per task."""
CONTROL_HZ = 20
"""Control steps per second in all worlds."""
ONE_ARM_CAMERAS = {"wrist": "robot0_eye_in_hand", "scene": "agentview"}
"""What a cell with one arm sees: camera name on the graph -> camera of the model."""


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """World, arms, home, start, success, cameras, horizon, cell and policy of one task.

    Start, observation and success are robosuite's where it has the task, on arrays of many worlds; the same seed even
    draws the same start. The live world takes them from here too.
    """

    name: str
    robosuite: RobosuiteTask
    """Names and horizon, and the cameras that a policy sees."""
    parked: tuple[str, ...] = ()
    """Bodies that robosuite puts outside the scene; live worlds are without them."""
    varied_body: str | None = None
    """The body whose geoms `Start.geoms` changes; the live world has one variant."""
    arms: tuple[str, ...] = ("arm",)
    """What the arms are called, in the order of the model's."""
    home_q_rad: tuple[float, ...] = HOME_Q_RAD
    """(7,) joint angles of each arm at the start of a live episode."""
    start_width_m: float = START_FINGERS_M[0] - START_FINGERS_M[1]
    """Opening of each gripper then."""
    cameras: Mapping[str, str] = field(default_factory=lambda: ONE_ARM_CAMERAS)
    """All that a live stack has: camera name on the graph -> camera of the model."""
    cells: tuple[str, ...] = ()
    """Cell file of each arm, for a Panda; empty: `sim_<name>`. Another robot's is called `<cell>_<robot>`."""
    bundle: str = ""
    """The policy that runs where none is named; empty: there is none yet."""

    @property
    def num_arms(self) -> int:
        """Pandas in this world."""
        return self.robosuite.num_robots

    @property
    def horizon_s(self) -> float:
        """Simulated time after which an episode has failed."""
        return self.robosuite.horizon_steps / CONTROL_HZ

    @property
    def model_path(self) -> Path:
        """MJCF file of the live world, loadable with MuJoCo alone."""
        return ASSETS / self.name / f"{self.name}.xml"

    @property
    def training_path(self) -> Path:
        """MJCF file of the batched worlds, with robosuite's arm."""
        return ASSETS / self.name / "robosuite.xml"

    @property
    def in_robosuite(self) -> bool:
        """Whether robosuite has this task, too."""
        return True

    @property
    def furniture(self) -> tuple[str, ...] | None:
        """Fixed bodies that the arm's shoulder cannot reach; None: all."""
        return None

    def cell(self, robot: str = "panda", arm: int = 0) -> str:
        """Name or path of the cell that an arm obeys."""
        cell = (self.cells or (f"sim_{self.name}",))[arm]
        return cell if robot in ("", "panda") else f"{cell.removesuffix('.yaml')}_{robot}{Path(cell).suffix}"

    @property
    @abstractmethod
    def object_size(self) -> int:
        """Numbers of the observation `object`."""

    @property
    def objects(self) -> Mapping[str, str]:
        """What perception calls the objects -> their bodies in the model."""
        return {}

    @property
    def touches(self) -> Mapping[tuple[str, str], str]:
        """Pairs of objects whose touch is observed -> the success tap that tells."""
        return {}

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

    def sample_start(self, rng: np.random.Generator) -> dict[str, NDArray[np.float64]]:
        """Draw a live start: name of a free joint -> (7,) position (m) and quat_wxyz in the world frame.

        The objects are where training puts them; the arms stay where they are, shapes as the live world has them.
        """
        return dict(self.draw(rng).objects)

    def is_success(self, data: mujoco.MjData) -> bool:
        """Whether the task is solved in this state of a live world (kinematics up to date)."""
        taps, masks, row = self._reader(data.model)
        read(data, taps, masks, row)
        return bool(self.success(taps.split(row)))

    def touching(self, data: mujoco.MjData) -> frozenset[tuple[str, str]]:
        """Of `touches`, those that hold in this state of a live world (contacts up to date)."""
        if not self.touches:
            return frozenset()
        taps, masks, row = self._reader(data.model)
        read(data, taps, masks, row)
        told = taps.split(row)
        return frozenset(pair for pair, tap in self.touches.items() if told[tap][0] > 0)

    @cached_property
    def _readers(self) -> dict[int, tuple[ResolvedTaps, NDArray[np.uint32], NDArray[np.float64]]]:
        return {}

    def _reader(self, model: mujoco.MjModel) -> tuple[ResolvedTaps, NDArray[np.uint32], NDArray[np.float64]]:
        """What to read and where to put it; names are looked up once, they are the same in every copy of the world."""
        if model.ngeom not in self._readers:
            groups = GeomGroups(model)
            taps = resolve(model, self.success_taps, groups)
            self._readers[model.ngeom] = taps, groups.masks, np.empty(taps.width)
        return self._readers[model.ngeom]
