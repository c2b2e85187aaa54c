"""What the nodes expect of a camera; no vendor type passes this protocol."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from d2ppo_core.calibrated import Intrinsics


class CameraDriver(Protocol):
    """A colour camera, or what plays one.

    Attributes:
        name: Of the camera on the graph.
        serial: By which its calibration is found; empty before `connect`, and for one that nobody can tell.
        width: Of its own pictures, px; known once it is connected.
        height: The same.
    """

    name: str
    serial: str
    width: int
    height: int

    def connect(self) -> None:
        """Open the camera; raise CameraError with what to do when it can't be opened. It may follow `close`."""

    def read(self, timeout_s: float) -> tuple[npt.NDArray[np.uint8], int]:
        """Wait for the next frame: (height, width, 3) RGB and when it was captured, ns of the node's clock.

        Raises:
            CameraGoneError: The device is gone; it has to be closed and connected again.
            CameraError: No frame came in time; one may come yet.
        """

    def intrinsics(self) -> Intrinsics | None:
        """Return what a connected camera says of its own lens; None where it says nothing."""

    def close(self) -> None:
        """Release the camera, whether or not it is still there; a second call does nothing."""
