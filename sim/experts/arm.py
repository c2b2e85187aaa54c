"""What an expert sees of the world: the hand, and the true pose of things."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.experts.scene import Scene

DOWN = np.array([0.0, 0.0, -1.0])
"""Approach direction of a hand that grasps from above, world frame."""


def wrap_angle(angle_rad: float, period_rad: float = 2 * np.pi) -> float:
    """`angle_rad` modulo `period_rad`, in [-period/2, period/2)."""
    return float((angle_rad + period_rad / 2) % period_rad - period_rad / 2)


class ArmView:
    """Read-only view of one arm. Positions in m, world frame."""

    def __init__(self, scene: Scene, index: int = 0) -> None:
        """Look at robot `index` of `scene`."""
        self._data, model, prefix = scene.data, scene.model, f"gripper{index}_right"
        self._site = model.site(f"{prefix}_grip_site").id
        self._base_site = model.site(f"robot{index}_right_center").id
        self._fingers = [model.body(f"{prefix}_{finger}").id for finger in ("leftfinger", "rightfinger")]

    @property
    def position_m(self) -> NDArray[np.float64]:
        """(3,) the point between the fingertips."""
        return np.array(self._data.site_xpos[self._site])

    @property
    def approach(self) -> NDArray[np.float64]:
        """(3,) unit vector out of the palm."""
        return np.array(self._data.site_xmat[self._site].reshape(3, 3)[:, 2])

    @property
    def finger_axis(self) -> NDArray[np.float64]:
        """(3,) unit vector along which the fingers open."""
        left, right = (self._data.xpos[finger] for finger in self._fingers)
        return np.array((left - right) / np.linalg.norm(left - right))

    @property
    def yaw_rad(self) -> float:
        """Heading of the axis along which the fingers open."""
        left, right = (self._data.xpos[finger] for finger in self._fingers)
        return float(np.arctan2(left[1] - right[1], left[0] - right[0]))

    @property
    def base_m(self) -> NDArray[np.float64]:
        """(3,) where the arm stands."""
        return np.array(self._data.site_xpos[self._base_site])

    @property
    def R_world_base(self) -> NDArray[np.float64]:
        """(3, 3) the frame in which the controller takes its deltas."""
        return np.array(self._data.site_xmat[self._base_site].reshape(3, 3))


class BodyView:
    """Read-only view of the true pose of a body."""

    def __init__(self, scene: Scene, name: str) -> None:
        """Look at the body called `name`."""
        self._data, self._body = scene.data, scene.model.body(name).id

    @property
    def position_m(self) -> NDArray[np.float64]:
        """(3,) origin of the body, world frame."""
        return np.array(self._data.xpos[self._body])

    @property
    def yaw_rad(self) -> float:
        """Heading of the body's x axis."""
        x_axis = self._data.xmat[self._body].reshape(3, 3)[:, 0]
        return float(np.arctan2(x_axis[1], x_axis[0]))


class PointView:
    """Read-only view of the true position of a point of a body."""

    def __init__(self, scene: Scene, body: str, point_m: tuple[float, float, float]) -> None:
        """Look at `point_m` in the frame of the body."""
        self._data, self._body, self._point_m = scene.data, scene.model.body(body).id, np.array(point_m)

    @property
    def position_m(self) -> NDArray[np.float64]:
        """(3,) in the world frame."""
        return np.asarray(self._data.xpos[self._body] + self._data.xmat[self._body].reshape(3, 3) @ self._point_m)
