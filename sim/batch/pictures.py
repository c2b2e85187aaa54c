"""Camera observations of batched worlds, drawn only when somebody looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from sim.assets.saved import load_picture_model
from sim.rendering.offscreen import OffscreenRenderer, PictureSize, height_and_width
from sim.tasks.training import Start


class Pictures:
    """One renderer for all worlds: the stripped one that also draws the deployed cameras' pictures."""

    def __init__(self, task: str, cameras: Sequence[str], size_px: PictureSize, num_envs: int) -> None:
        """Open an off-screen context.

        Args:
            task: Whose world to draw.
            cameras: Cameras of the model.
            size_px: Side of the pictures, or their height and width.
            num_envs: Number of worlds.

        Raises:
            WorldError: the world was never built, or EGL is missing.
        """
        self.cameras, self.image_hw, self._num_envs = tuple(cameras), height_and_width(size_px), num_envs
        self._model = load_picture_model(task)
        self._data = mujoco.MjData(self._model)
        self._renderer = OffscreenRenderer(self._model, self.image_hw[1], self.image_hw[0])
        self._base: dict[str, NDArray[Any]] = {}
        self._looks: list[dict[str, NDArray[Any]]] = [{} for _ in range(num_envs)]

    @property
    def model(self) -> mujoco.MjModel:
        """The standard look; restored before it is returned."""
        self._wear({})
        return self._model

    def dress(self, env: int, start: Start, changes: Mapping[str, NDArray[Any]]) -> None:
        """Remember what world `env` looks like in this episode: rebuilt objects, and randomised fields."""
        look = {name: np.array(values) for name, values in changes.items()}
        for geom, attributes in start.geoms.items():
            for name in (geom, f"{geom}_vis"):
                geom_id = self.model.geom(name).id
                for key, values in attributes.items():
                    field = look.setdefault(f"geom_{key}", np.array(getattr(self._model, f"geom_{key}")))
                    field[geom_id, : len(values)] = values
        self._looks[env] = look

    def draw(self, mask: NDArray[np.bool_], qpos: Sequence[NDArray[np.float64]]) -> dict[str, NDArray[np.uint8]]:
        """Pictures of the worlds of `mask`, by observation name: (N, H, W, 3) uint8, row 0 at the top."""
        shape = (self._num_envs, *self.image_hw, 3)
        pictures = {f"{camera}_image": np.zeros(shape, np.uint8) for camera in self.cameras}
        for env in np.flatnonzero(mask).tolist():
            self._wear(self._looks[env])
            self._data.qpos[:] = qpos[env]
            mujoco.mj_kinematics(self._model, self._data)
            mujoco.mj_comPos(self._model, self._data)
            mujoco.mj_camlight(self._model, self._data)
            for camera in self.cameras:
                pictures[f"{camera}_image"][env] = self._renderer.render(self._data, camera)
        return pictures

    def close(self) -> None:
        """Free the context; a second call does nothing."""
        self._renderer.close()

    def _wear(self, look: Mapping[str, NDArray[Any]]) -> None:
        """Put on a look, and take off what is not part of it."""
        for name in [name for name in self._base if name not in look]:
            getattr(self._model, name)[:] = self._base.pop(name)
        for name, values in look.items():
            field = getattr(self._model, name)
            self._base.setdefault(name, field.copy())
            field[:] = values
