"""What the nodes expect of a camera; no vendor type passes this protocol."""

from typing import Protocol

import numpy as np
import numpy.typing as npt


class CameraDriver(Protocol):
    """A colour camera."""

    name: str
    width: int
    height: int

    def connect(self) -> None:
        """Open the camera; raise CameraError with what to do when it can't be opened."""

    def read(self, timeout_s: float) -> tuple[npt.NDArray[np.uint8], int]:
        """Wait for the next frame: (height, width, 3) RGB and capture time in ns; CameraError after the time-out."""

    def intrinsics(self) -> npt.NDArray[np.float64]:
        """Return K_camera, 3×3, px."""

    def close(self) -> None:
        """Release the camera."""
