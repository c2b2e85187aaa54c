"""Pictures of a world: the one renderer behind training images and deployed cameras."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from d2ppo_core.closing import Closing
from d2ppo_core.errors import WorldError

VISUAL_GEOM_GROUP = 1
"""robosuite's convention: group 0 collides, group 1 is seen."""

PictureSize = int | tuple[int, int]
"""Of square pictures their side, else height and width; pixels."""

_EGL_HINT = (
    "headless rendering needs EGL ({error}); install it with: sudo apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri"
)


def height_and_width(size_px: PictureSize) -> tuple[int, int]:
    """Of pictures, pixels."""
    return (size_px, size_px) if isinstance(size_px, int) else size_px


class OffscreenRenderer(Closing):
    """Renders a MuJoCo model without a window, fast enough for a CPU: no shadows, no multisampling, no sky.

    The OpenGL context belongs to no thread between two calls: several renderers, robosuite's own included, may live
    in one process, and one renderer may be used from any thread, by one at a time.
    """

    width: int
    """Image width, pixels."""
    height: int
    """Image height, pixels."""

    def __init__(self, model: mujoco.MjModel, width: int, height: int) -> None:
        """Open an EGL context for `model`.

        Raises:
            WorldError: the size is not positive, or EGL is missing.
        """
        if width < 1 or height < 1:
            raise WorldError(f"an image size must be positive, got {width}x{height}")
        self.width, self.height = width, height
        self._model = model
        self._gl = _egl_context(width, height)
        with self._current():
            self._context = _render_context(model, width, height)
        self._scene = mujoco.MjvScene(model, maxgeom=2000)
        for flag in ("mjRND_SHADOW", "mjRND_REFLECTION", "mjRND_SKYBOX", "mjRND_HAZE"):
            self._scene.flags[getattr(mujoco.mjtRndFlag, flag)] = 0
        self._option = mujoco.MjvOption()
        self._option.geomgroup[:] = 0
        self._option.geomgroup[VISUAL_GEOM_GROUP] = 1
        self._option.sitegroup[:] = 0
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._rect = mujoco.MjrRect(0, 0, width, height)

    def render(self, data: mujoco.MjData, camera_name: str) -> NDArray[np.uint8]:
        """One picture of `data` as it stands (kinematics already computed) through a camera of the model.

        Returns:
            (height, width, 3) uint8 RGB, row 0 at the top.

        Raises:
            WorldError: the model has no such camera.
        """
        camera_id = mujoco.mj_name2id(self._model, mujoco.mjtObj.mjOBJ_CAMERA, camera_name)
        if camera_id < 0:
            names = ", ".join(self._model.camera(i).name for i in range(self._model.ncam))
            raise WorldError(f"no camera {camera_name!r} in this world; it has {names or 'none'}")
        self._camera.fixedcamid = camera_id
        mujoco.mjv_updateScene(
            self._model, data, self._option, None, self._camera, mujoco.mjtCatBit.mjCAT_ALL, self._scene
        )
        image = np.empty((self.height, self.width, 3), np.uint8)
        with self._current():
            mujoco.mjr_render(self._rect, self._scene, self._context)
            mujoco.mjr_readPixels(image, None, self._rect, self._context)
        return image[::-1].copy()

    def close(self) -> None:
        """Free the context; a second call does nothing."""
        if self._gl is None:
            return
        with self._current():
            self._context.free()
        self._gl.free()
        self._gl = None

    @contextmanager
    def _current(self) -> Iterator[None]:
        from mujoco.egl import egl_ext

        self._gl.make_current()
        try:
            yield
        finally:
            egl_ext.eglReleaseThread()


def _egl_context(width: int, height: int) -> Any:
    """MuJoCo's EGL context, whatever MUJOCO_GL says: only EGL renders without a display."""
    try:
        from mujoco.egl import GLContext

        return GLContext(width, height)
    except Exception as error:  # PyOpenGL raises AttributeError, ImportError or GLError, by what is missing
        raise WorldError(_EGL_HINT.format(error=f"{type(error).__name__}: {error}".splitlines()[0])) from error


def _render_context(model: mujoco.MjModel, width: int, height: int) -> mujoco.MjrContext:
    """A context with a buffer of the picture's size and one sample per pixel; the model is left as it was."""
    visual, quality = model.vis.global_, model.vis.quality
    before = visual.offwidth, visual.offheight, quality.offsamples, quality.shadowsize
    visual.offwidth, visual.offheight, quality.offsamples, quality.shadowsize = width, height, 0, 0
    try:
        context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
    finally:
        visual.offwidth, visual.offheight, quality.offsamples, quality.shadowsize = before
    mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, context)
    return context
