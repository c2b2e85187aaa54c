"""Tasks with one object that robosuite observes in the hand's frame: its relative pose, then its own."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.tasks.base import Task
from sim.tasks.taps import Rows, Tap, TapKind
from sim.tasks.training import Array, xyzw

NEAR_GAIN, NEAR_LIMIT = 10.0, 0.6
"""robosuite counts success only once the hand has let go: 1 - tanh(10 d) < 0.6, i.e. d > 4.2 cm."""


@dataclass(frozen=True, kw_only=True)
class OneObjectTask(Task):
    """A task about one body."""

    body: str
    raised_m: float
    """The object does not rest so high anywhere on its way."""

    @abstractmethod
    def over_place(self, position_m: Array) -> NDArray[np.bool_]:
        """Whether objects at these positions (..., 3) are above where they belong."""

    @property
    def object_size(self) -> int:
        """Position and orientation in the hand's frame, then in the world."""
        return 14

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
        hand = taps["robot0_eef_quat"]
        position = rotate_back(hand, taps["object_pos"] - taps["robot0_eef_pos"])
        quat = upper_half(multiply(conjugate(hand), taps["object_quat"]))
        return np.concatenate([position, xyzw(quat), taps["object_pos"], xyzw(taps["object_quat"])], axis=-1)

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


def conjugate(quat_wxyz: Array) -> Array:
    """Inverse of unit quaternions (..., 4)."""
    return np.asarray(quat_wxyz * np.array([1.0, -1.0, -1.0, -1.0]))


def multiply(one_wxyz: Array, other_wxyz: Array) -> Array:
    """Products of quaternions (..., 4)."""
    w1, x1, y1, z1 = np.moveaxis(one_wxyz, -1, 0)
    w2, x2, y2, z2 = np.moveaxis(other_wxyz, -1, 0)
    product = (
        w1 * w2 - x1 * x2 - y1 * y2 - z1 * z2,
        w1 * x2 + x1 * w2 + y1 * z2 - z1 * y2,
        w1 * y2 - x1 * z2 + y1 * w2 + z1 * x2,
        w1 * z2 + x1 * y2 - y1 * x2 + z1 * w2,
    )
    return np.stack(product, axis=-1)


def rotate_back(quat_wxyz: Array, vector: Array) -> Array:
    """Vectors (..., 3) in the frames that these quaternions (..., 4) turn the world's into."""
    scalar, axis = quat_wxyz[..., :1], -quat_wxyz[..., 1:]
    twice = 2.0 * np.cross(axis, vector)
    return vector + scalar * twice + np.cross(axis, twice)


def upper_half(quat_wxyz: Array) -> Array:
    """The one of q and -q whose w is not negative, as robosuite makes quaternions from matrices."""
    return np.where(quat_wxyz[..., :1] < 0.0, -quat_wxyz, quat_wxyz)
