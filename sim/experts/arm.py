"""What an expert sees of the world: the hand, and the true pose of things."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

DOWN = np.array([0.0, 0.0, -1.0])
"""Approach direction of a hand that grasps from above, world frame."""


def wrap_angle(angle_rad: float, period_rad: float = 2 * np.pi) -> float:
    """`angle_rad` modulo `period_rad`, in [-period/2, period/2)."""
    return float((angle_rad + period_rad / 2) % period_rad - period_rad / 2)


class ArmView:
    """Read-only view of one arm of a robosuite environment. Positions in m, world frame."""

    def __init__(self, env: Any, index: int = 0) -> None:
        """Look at robot `index` of the raw robosuite environment `env`."""
        self._env = env
        prefix = f"gripper{index}_right"
        model = env.sim.model
        self._site = model.site_name2id(f"{prefix}_grip_site")
        self._base_site = model.site_name2id(f"robot{index}_right_center")
        self._fingers = [model.body_name2id(f"{prefix}_{finger}") for finger in ("leftfinger", "rightfinger")]

    @property
    def position_m(self) -> NDArray[np.float64]:
        """(3,) the point between the fingertips."""
        return np.array(self._env.sim.data.site_xpos[self._site])

    @property
    def approach(self) -> NDArray[np.float64]:
        """(3,) unit vector out of the palm."""
        return np.array(self._env.sim.data.site_xmat[self._site].reshape(3, 3)[:, 2])

    @property
    def finger_axis(self) -> NDArray[np.float64]:
        """(3,) unit vector along which the fingers open."""
        left, right = (self._env.sim.data.body_xpos[finger] for finger in self._fingers)
        return np.array((left - right) / np.linalg.norm(left - right))

    @property
    def yaw_rad(self) -> float:
        """Heading of the axis along which the fingers open."""
        left, right = (self._env.sim.data.body_xpos[finger] for finger in self._fingers)
        return float(np.arctan2(left[1] - right[1], left[0] - right[0]))

    @property
    def R_world_base(self) -> NDArray[np.float64]:
        """(3, 3) the frame in which the controller takes its deltas."""
        return np.array(self._env.sim.data.site_xmat[self._base_site].reshape(3, 3))


class BodyView:
    """Read-only view of the true pose of a body."""

    def __init__(self, env: Any, name: str) -> None:
        """Look at the body called `name` in the raw robosuite environment `env`."""
        self._env = env
        self._body = env.sim.model.body_name2id(name)

    @property
    def position_m(self) -> NDArray[np.float64]:
        """(3,) origin of the body, world frame."""
        return np.array(self._env.sim.data.body_xpos[self._body])

    @property
    def yaw_rad(self) -> float:
        """Heading of the body's x axis."""
        x_axis = self._env.sim.data.body_xmat[self._body].reshape(3, 3)[:, 0]
        return float(np.arctan2(x_axis[1], x_axis[0]))


class SiteView:
    """Read-only view of the true position of a site."""

    def __init__(self, env: Any, name: str) -> None:
        """Look at the site called `name` in the raw robosuite environment `env`."""
        self._env = env
        self._site = env.sim.model.site_name2id(name)

    @property
    def position_m(self) -> NDArray[np.float64]:
        """(3,) in the world frame."""
        return np.array(self._env.sim.data.site_xpos[self._site])
