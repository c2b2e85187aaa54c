"""What the demonstrators of Transport see of its things."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class TransportView:
    """True poses of the things in TwoArmTransport, m, world frame."""

    def __init__(self, env: Any) -> None:
        """Look at the raw robosuite environment `env`."""
        self._env, self._things = env, env.transport
        self._handle = env.sim.model.geom_name2id("payload_handle")
        self._head = env.sim.model.geom_name2id("payload_head")

    @property
    def lid_m(self) -> NDArray[np.float64]:
        """(3,) handle of the lid."""
        return np.array(self._things.lid_handle_pos)

    @property
    def trash_m(self) -> NDArray[np.float64]:
        """(3,) the cube."""
        return np.array(self._things.trash_pos)

    @property
    def trash_yaw_rad(self) -> float:
        """Heading of the cube's x axis."""
        x_axis = self._env.sim.data.body_xmat[self._things.trash_body_id].reshape(3, 3)[:, 0]
        return float(np.arctan2(x_axis[1], x_axis[0]))

    @property
    def trash_bin_m(self) -> NDArray[np.float64]:
        """(3,) floor of the bin for the cube."""
        return np.array(self._things.trash_bin_pos)

    @property
    def target_bin_m(self) -> NDArray[np.float64]:
        """(3,) floor of the bin for the hammer."""
        return np.array(self._things.target_bin_pos)

    @property
    def handle_m(self) -> NDArray[np.float64]:
        """(3,) middle of the hammer's handle."""
        return np.array(self._env.sim.data.geom_xpos[self._handle])

    @property
    def handle_axis(self) -> NDArray[np.float64]:
        """(3,) unit vector along the handle, towards the head."""
        axis = self._env.sim.data.geom_xmat[self._handle].reshape(3, 3)[:, 2]
        towards_head = self._env.sim.data.geom_xpos[self._head] - self.handle_m
        return np.array(axis * np.sign(axis @ towards_head))

    @property
    def handle_yaw_rad(self) -> float:
        """Heading of the handle."""
        return float(np.arctan2(self.handle_axis[1], self.handle_axis[0]))
