"""What the demonstrators of Transport see of its things."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.experts.scene import Scene


class TransportView:
    """True poses of the things in TwoArmTransport, m, world frame."""

    def __init__(self, scene: Scene) -> None:
        """Look at `scene`."""
        self._data, model = scene.data, scene.model
        self._handle, self._head = model.geom("payload_handle").id, model.geom("payload_head").id
        self._lid = model.geom("transport_start_bin_lid_handle").id
        self._target_bin = model.geom("transport_target_bin_base").id
        self._trash_bin = model.geom("transport_trash_bin_base").id
        self._trash = model.body("trash_main").id

    @property
    def lid_m(self) -> NDArray[np.float64]:
        """(3,) handle of the lid."""
        return np.array(self._data.geom_xpos[self._lid])

    @property
    def trash_m(self) -> NDArray[np.float64]:
        """(3,) the cube."""
        return np.array(self._data.xpos[self._trash])

    @property
    def trash_yaw_rad(self) -> float:
        """Heading of the cube's x axis."""
        x_axis = self._data.xmat[self._trash].reshape(3, 3)[:, 0]
        return float(np.arctan2(x_axis[1], x_axis[0]))

    @property
    def trash_bin_m(self) -> NDArray[np.float64]:
        """(3,) floor of the bin for the cube."""
        return np.array(self._data.geom_xpos[self._trash_bin])

    @property
    def target_bin_m(self) -> NDArray[np.float64]:
        """(3,) floor of the bin for the hammer."""
        return np.array(self._data.geom_xpos[self._target_bin])

    @property
    def handle_m(self) -> NDArray[np.float64]:
        """(3,) middle of the hammer's handle."""
        return np.array(self._data.geom_xpos[self._handle])

    @property
    def handle_axis(self) -> NDArray[np.float64]:
        """(3,) unit vector along the handle, towards the head."""
        axis = self._data.geom_xmat[self._handle].reshape(3, 3)[:, 2]
        towards_head = self._data.geom_xpos[self._head] - self.handle_m
        return np.array(axis * np.sign(axis @ towards_head))

    @property
    def handle_yaw_rad(self) -> float:
        """Heading of the handle."""
        return float(np.arctan2(self.handle_axis[1], self.handle_axis[0]))
