"""Tasks with one object that robosuite observes in the hand's frame: its relative pose, then its own."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from d2ppo_core.objects import Poses, object_state, parts_in_the_hand, size_of
from sim.tasks.base import Task
from sim.tasks.taps import Rows, Tap, TapKind
from sim.tasks.training import Array, hand_poses

NEAR_GAIN, NEAR_LIMIT = 10.0, 0.6
"""robosuite counts success only once the hand has let go: 1 - tanh(10 d) < 0.6, i.e. d > 4.2 cm."""


@dataclass(frozen=True, kw_only=True)
class OneObjectTask(Task):
    """A task about one body."""

    called: str
    """Name of the object."""
    body: str
    raised_m: float
    """The object does not rest so high anywhere on its way."""

    @abstractmethod
    def over_place(self, position_m: Array) -> NDArray[np.bool_]:
        """Whether objects at these positions (..., 3) are above where they belong."""

    @property
    def object_size(self) -> int:
        """Position and orientation in the hand's frame, then in the world."""
        return size_of(parts_in_the_hand(self.called))

    @property
    def objects(self) -> Mapping[str, str]:
        """The object."""
        return {self.called: self.body}

    @property
    def success_taps(self) -> Mapping[str, Tap]:
        """Positions of the object and the hand."""
        return {
            "object_pos": Tap(TapKind.BODY_POSITION, (self.body,)),
            "robot0_eef_pos": Tap(TapKind.SITE_POSITION, ("gripper0_right_grip_site",)),
        }

    @property
    def object_taps(self) -> Mapping[str, Tap]:
        """The object's pose."""
        return {
            "object_pos": Tap(TapKind.BODY_POSITION, (self.body,)),
            "object_quat": Tap(TapKind.BODY_QUAT_WXYZ, (self.body,)),
        }

    def object_state(self, taps: Rows) -> Array:
        """The observation `object`, (..., 14)."""
        thing = Poses(taps["object_pos"], taps["object_quat"])
        return object_state(parts_in_the_hand(self.called), {self.called: thing}, hand_poses(taps))

    def stages(self, observation: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.bool_]]:
        """The object is up in the hand, then it is over its place."""
        object_state = observation["object"]
        near = np.linalg.norm(object_state[..., :3], axis=-1) < IN_HAND_M
        position = object_state[..., 7:10]
        held = np.asarray(near & (position[..., 2] > self.raised_m))
        return {"held": held, "over_its_place": held & self.over_place(position)}

    def released(self, taps: Rows) -> NDArray[np.bool_]:
        """Whether the hand is away from the object."""
        distance = np.linalg.norm(taps["robot0_eef_pos"] - taps["object_pos"], axis=-1)
        return np.asarray(1.0 - np.tanh(NEAR_GAIN * distance) < NEAR_LIMIT)


IN_HAND_M = 0.1
"""A held object's origin is so near to the point between the fingertips."""
