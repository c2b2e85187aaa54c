"""One demonstration in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from d2ppo_core.errors import DataError

Observations = Mapping[str, NDArray[Any]]


def is_picture(values: NDArray[Any]) -> bool:
    """Whether an observation (T, ...) is colour pictures of 8 bits, (T, H, W, 3)."""
    return values.dtype == np.uint8 and values.ndim == 4 and values.shape[-1] == 3


@dataclass(frozen=True, kw_only=True)
class Episode:
    """One demonstration of T control steps."""

    actions: NDArray[np.float64]
    """(T, Da) what the controller was given: played back from the first state, they repeat the episode."""
    rewards: NDArray[np.float64]
    """(T,) 1 where the task is solved after the step."""
    dones: NDArray[np.int64]
    """(T,) 1 where the task is solved after the step (robomimic's convention)."""
    states: NDArray[np.float64]
    """(T, Ds) the simulator's flattened state before each step."""
    observations: Observations
    """Before each step: name -> (T, ...), float64, or uint8 for images (T, H, W, 3)."""
    next_observations: Observations = field(default_factory=dict)
    """After each step, same layout; images may be missing."""
    expert_actions: NDArray[np.float64] | None = None
    """(T, Da) what the demonstrator meant to do, without the disturbance that spreads the states; None if equal."""
    model_xml: str = ""
    """The simulator's model in which the states live."""
    attributes: Mapping[str, int | float | str] = field(default_factory=dict)
    """Provenance, e.g. the seed."""

    def __post_init__(self) -> None:
        """Raise DataError when an array has not one row per action."""
        arrays: dict[str, NDArray[Any]] = {
            "rewards": self.rewards,
            "dones": self.dones,
            "states": self.states,
            **{f"obs/{key}": value for key, value in self.observations.items()},
            **{f"next_obs/{key}": value for key, value in self.next_observations.items()},
        }
        if self.expert_actions is not None:
            arrays["expert_actions"] = self.expert_actions
        for name, array in arrays.items():
            if len(array) != len(self):
                raise DataError(f"{name} must have {len(self)} steps like the actions, got {len(array)}")

    def __len__(self) -> int:
        """Number of control steps T."""
        return len(self.actions)

    @property
    def labels(self) -> NDArray[np.float64]:
        """(T, Da) what a policy should learn: the demonstrator's intention where it was recorded, else the actions."""
        return self.actions if self.expert_actions is None else self.expert_actions
