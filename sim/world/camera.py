"""The simulated camera as a driver: a process of its own draws what the world saw, at the world's own times."""

from __future__ import annotations

import math
from types import TracebackType
from typing import Self

import mujoco
import numpy as np
from numpy.typing import NDArray

from d2ppo_core.calibrated import Intrinsics
from d2ppo_core.errors import CameraError
from d2ppo_core.runtime.perception.markers import load_markers
from sim.rendering.offscreen import OffscreenRenderer
from sim.tasks import task_named
from sim.world.marked import marked_model
from sim.world.snapshots import SnapshotSubscriber


class SimCamera:
    """Implements `CameraDriver`. The frame's time is the simulated time of the instant that it shows."""

    def __init__(
        self,
        *,
        name: str = "wrist",
        width: int = 96,
        height: int = 96,
        task: str = "lift",
        camera: str = "",
        robot_address: str = "127.0.0.1",
        markers: str = "",
    ) -> None:
        """Choose a camera of the world behind `robot_address`; `camera` overrides the task's camera of this name.

        It sees the objects with the printed `markers` of a file on them, if one is named.

        Raises:
            ConfigError: the file is none of markers.
            WorldError: there is no such task.
            CameraError: the task has no camera of this name.
        """
        self.name, self.serial, self.width, self.height = name, "", width, height
        self._task = task_named(task)
        self._markers = load_markers(markers) if markers else None
        if not camera and name not in self._task.cameras:
            known = ", ".join(sorted(self._task.cameras))
            raise CameraError(f"task {task!r} has no camera {name!r}; it has {known}")
        self._camera = camera or self._task.cameras[name]
        self._address = robot_address
        self._renderer: OffscreenRenderer | None = None
        self._channel: SnapshotSubscriber | None = None

    def connect(self) -> None:
        """Load the world and listen to it; the world itself may start later. Raises WorldError without EGL."""
        self._model = marked_model(self._task, self._markers)
        self._data = mujoco.MjData(self._model)
        mujoco.mj_forward(self._model, self._data)
        self._renderer = OffscreenRenderer(self._model, self.width, self.height)
        self._renderer.render(self._data, self._camera)
        self._channel = SnapshotSubscriber(self._address)

    def read(self, timeout_s: float) -> tuple[NDArray[np.uint8], int]:
        """Wait for the next frame: (height, width, 3) RGB and its simulated time in ns; the newest wins.

        Raises:
            CameraError: not connected, or no frame came in time.
        """
        if self._renderer is None or self._channel is None:
            raise CameraError(f"camera {self.name!r} is not connected")
        snapshot = self._channel.newest(timeout_s)
        if snapshot is None:
            raise CameraError(
                f"camera {self.name!r} got no frame for {timeout_s:g} s; does the world of {self._address} run?"
            )
        if len(snapshot.qpos) != self._model.nq:
            raise CameraError(
                f"camera {self.name!r} draws task {self._task.name!r} with {self._model.nq} positions, "
                f"but the world of {self._address} has {len(snapshot.qpos)}; is it another task?"
            )
        self._data.qpos[:] = snapshot.qpos
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_camlight(self._model, self._data)
        return self._renderer.render(self._data, self._camera), snapshot.stamp_ns

    def intrinsics(self) -> Intrinsics:
        """Return the lens of a connected camera; it has no distortion."""
        if self._renderer is None:
            raise CameraError(f"camera {self.name!r} is not connected")
        fovy_rad = math.radians(float(self._model.camera(self._camera).fovy[0]))
        focal_px = 0.5 * self.height / math.tan(0.5 * fovy_rad)
        return Intrinsics(
            width_px=self.width,
            height_px=self.height,
            fx_px=focal_px,
            fy_px=focal_px,
            cx_px=(self.width - 1) / 2.0,
            cy_px=(self.height - 1) / 2.0,
        )

    def close(self) -> None:
        """Free the renderer and leave the channel; a second call does nothing."""
        if self._channel is not None:
            self._channel.close()
        if self._renderer is not None:
            self._renderer.close()
        self._channel = self._renderer = None

    def __enter__(self) -> Self:
        """Connect, and return the camera."""
        self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the camera."""
        self.close()
