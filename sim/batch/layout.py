"""What the kernel has to know about a world: where the arms are, what to read, which parameters differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from d2ppo_core.errors import WorldError
from sim.tasks.taps import GeomGroups, ResolvedTaps, Tap, resolve

JOINTS = 7
ACTION_SIZE = 7
"""Per arm: six motion deltas and the gripper's sign."""
SUBSTEPS = 25
"""2 ms each: 20 Hz control."""


@dataclass(frozen=True, kw_only=True)
class ArmIndex:
    """Addresses of one arm in a model; the order of the fields is that of csrc/osc.hpp."""

    qpos: tuple[int, ...]
    dof: tuple[int, ...]
    actuator: tuple[int, ...]
    gripper_actuator: tuple[int, ...]
    grip_site: int
    base_site: int

    @classmethod
    def find(cls, model: mujoco.MjModel, arm: int) -> ArmIndex:
        """Arm number `arm` by robosuite's names.

        Raises:
            WorldError: the model has no such arm.
        """
        try:
            joints = [model.joint(f"robot{arm}_joint{i}") for i in range(1, JOINTS + 1)]
            return cls(
                qpos=tuple(int(joint.qposadr[0]) for joint in joints),
                dof=tuple(int(joint.dofadr[0]) for joint in joints),
                actuator=tuple(model.actuator(f"robot{arm}_torq_j{i}").id for i in range(1, JOINTS + 1)),
                gripper_actuator=tuple(
                    model.actuator(f"gripper{arm}_right_gripper_finger_joint{i}").id for i in (1, 2)
                ),
                grip_site=model.site(f"gripper{arm}_right_grip_site").id,
                base_site=model.site(f"robot{arm}_right_center").id,
            )
        except KeyError as error:
            raise WorldError(f"the world has no torque-controlled Panda number {arm}: {error}") from error

    def flat(self) -> list[int]:
        """All addresses in the kernel's order."""
        return [*self.qpos, *self.dof, *self.actuator, *self.gripper_actuator, self.grip_site, self.base_site]


@dataclass(frozen=True)
class Parameter:
    """Entries of one array of the model that differ between worlds."""

    field: str
    """Name of an array of MjModel, or `meaninertia`, which scales the solver's tolerance."""
    rows: tuple[int, ...] = ()
    """First index of the entries; empty for `meaninertia` only."""


class ParameterTable:
    """Where the varied parameters lie, in the model and in a row of numbers."""

    def __init__(self, model: mujoco.MjModel, parameters: Sequence[Parameter]) -> None:
        """Only float64 arrays can vary.

        Raises:
            WorldError: a field is not one.
        """
        self._model = model
        self.columns: dict[str, slice] = {}
        self._parameters = tuple(parameters)
        self.addresses: list[tuple[int | None, int]] = []
        """(address in the base model, or None for meaninertia; count) of each run of numbers."""
        self.width = 0
        for parameter in parameters:
            values = self._values(model, parameter)
            if not parameter.rows:
                self.addresses.append((None, 1))
            else:
                whole = getattr(model, parameter.field)
                if whole.dtype != np.float64:
                    raise WorldError(f"{parameter.field} cannot differ between worlds: it is {whole.dtype}")
                first = whole.__array_interface__["data"][0]
                self.addresses += [(first + row * whole.strides[0], whole[0].size) for row in parameter.rows]
            self.columns[parameter.field] = slice(self.width, self.width + values.size)
            self.width += values.size

    def row(self, model: mujoco.MjModel) -> NDArray[np.float64]:
        """(width,) the parameters' present values in `model`, which has the structure of the base model."""
        parts = [self._values(model, parameter).ravel() for parameter in self._parameters]
        return np.concatenate([np.empty(0), *parts])

    def write(self, model: mujoco.MjModel, row: NDArray[np.float64]) -> None:
        """Put a row's values into `model`."""
        for parameter in self._parameters:
            values = row[self.columns[parameter.field]]
            if parameter.rows:
                array = getattr(model, parameter.field)
                array[list(parameter.rows)] = values.reshape(array[list(parameter.rows)].shape)
            else:
                model.stat.meaninertia = values[0]

    @staticmethod
    def _values(model: mujoco.MjModel, parameter: Parameter) -> NDArray[np.float64]:
        if not parameter.rows:
            return np.array([model.stat.meaninertia])
        return np.array(getattr(model, parameter.field)[list(parameter.rows)])


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Everything that the worlds of a batch have in common."""

    arms: tuple[ArmIndex, ...]
    step_taps: ResolvedTaps
    """Read after the last substep, while positions are those of the substep before: what robosuite's reward sees."""
    observation_taps: ResolvedTaps
    """Read from the up-to-date state."""
    geom_groups: NDArray[np.uint32]
    table: ParameterTable
    substeps: int = SUBSTEPS

    @classmethod
    def of(
        cls,
        model: mujoco.MjModel,
        *,
        num_arms: int,
        step_taps: Mapping[str, Tap],
        observation_taps: Mapping[str, Tap],
        parameters: Sequence[Parameter] = (),
    ) -> Layout:
        """Resolve names. Raises WorldError where the model lacks something."""
        groups = GeomGroups(model)
        return cls(
            arms=tuple(ArmIndex.find(model, arm) for arm in range(num_arms)),
            step_taps=resolve(model, step_taps, groups),
            observation_taps=resolve(model, observation_taps, groups),
            geom_groups=groups.masks,
            table=ParameterTable(model, parameters),
        )
