"""Tasks as they are deployed: starts and success are those of training, which defines them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import mujoco
import numpy as np
from numpy.typing import NDArray

from sim.tasks.base import ASSETS, Task
from sim.tasks.taps import GeomGroups, ResolvedTaps, read, resolve
from sim.tasks.training import HOME_Q_RAD, START_FINGERS_M, TrainingTask


@dataclass(frozen=True, kw_only=True)
class TrainedTask(Task):
    """A task whose objects and success predicate are those of its training world."""

    training: TrainingTask

    def sample_start(self, rng: np.random.Generator) -> dict[str, NDArray[np.float64]]:
        """Draw the poses of the objects as training does; shapes that training varies stay as the world has them."""
        return dict(self.training.draw(rng).objects)

    def is_success(self, data: mujoco.MjData) -> bool:
        """Tell whether training would count this state as solved."""
        taps, masks, row = self._reader(data.model)
        read(data, taps, masks, row)
        return bool(self.training.success(taps.split(row)))

    @cached_property
    def _readers(self) -> dict[int, tuple[ResolvedTaps, NDArray[np.uint32], NDArray[np.float64]]]:
        return {}

    def _reader(self, model: mujoco.MjModel) -> tuple[ResolvedTaps, NDArray[np.uint32], NDArray[np.float64]]:
        """What to read and where to put it; names are looked up once, they are the same in every copy of the world."""
        if model.ngeom not in self._readers:
            groups = GeomGroups(model)
            taps = resolve(model, self.training.success_taps, groups)
            self._readers[model.ngeom] = taps, groups.masks, np.empty(taps.width)
        return self._readers[model.ngeom]


ONE_ARM_CAMERAS = {"wrist": "robot0_eye_in_hand", "scene": "agentview"}
"""What a cell with one arm sees: camera name on the graph -> camera of the model."""


def deployed(
    training: TrainingTask, cameras: Mapping[str, str] = ONE_ARM_CAMERAS, arms: tuple[str, ...] = ("arm",)
) -> TrainedTask:
    """The live world of a task, with these cameras and arms."""
    return TrainedTask(
        name=training.name,
        model_path=ASSETS / training.name / f"{training.name}.xml",
        arms=arms,
        home_q_rad=HOME_Q_RAD,
        start_width_m=START_FINGERS_M[0] - START_FINGERS_M[1],
        cameras=cameras,
        training=training,
    )
