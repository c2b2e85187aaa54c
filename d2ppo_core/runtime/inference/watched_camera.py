"""A camera that is looked after: faults get a name, what cannot be used is dropped, what was unplugged comes back."""

import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from d2ppo_core.errors import CameraError, CameraGoneError
from d2ppo_core.runtime.inference.camera import CameraDriver
from d2ppo_core.runtime.inference.frame_watch import FrameWatch

Frame = tuple[npt.NDArray[np.uint8], int]
"""(height, width, 3) RGB and capture time, ns."""


class WatchedCamera:
    """Reads a driver for as long as it is wanted; no fault of the camera raises."""

    def __init__(
        self,
        driver: CameraDriver,
        *,
        tell: Callable[[str], None],
        latency_ns: int = 0,
        frozen_after: int = 0,
        checked: bool = True,
        retry_s: float = 0.25,
    ) -> None:
        """Take a driver; nothing is opened yet.

        Args:
            driver: Of the camera.
            tell: Takes one line when a camera that was gone is back.
            latency_ns: Subtracted from the driver's stamps: from capture to what it stamps.
            frozen_after: See `FrameWatch`.
            checked: Whether frames are looked at; a simulated world may begin anew, and its pictures are ours.
            retry_s: Between two attempts to find a camera that is gone.
        """
        self.driver = driver
        self.fault = ""
        """What is wrong at present, in words; empty: nothing."""
        self.frames = self.dropped = self.losses = 0
        """Frames that could be used, that could not, and how often the camera was gone."""
        self._tell, self._latency_ns, self._retry_s = tell, latency_ns, retry_s
        self._frozen_after, self._checked = frozen_after, checked
        self._watch: FrameWatch | None = None
        self._gone_since_s: float | None = None
        self._connected = False

    def connect(self) -> None:
        """Open the camera; raises CameraError when that is not possible."""
        self.driver.connect()
        self._expect()

    def _expect(self) -> None:
        self._connected = True
        if self._checked:
            self._watch = FrameWatch(self.driver.width, self.driver.height, self._frozen_after)

    def next(self, timeout_s: float) -> Frame | None:
        """Wait for the next frame that can be used; None where none came, and `fault` says why."""
        if not self._connected and not self._reconnect():
            return None
        try:
            image, stamp_ns = self.driver.read(timeout_s)
        except CameraGoneError as error:
            self._lose(str(error))
            return None
        except CameraError as error:
            self.fault = str(error)
            return None
        fault = self._watch.fault(image, stamp_ns) if self._watch is not None else ""
        if fault:
            self.dropped += 1
            self.fault = f"camera {self.driver.name} {fault}"
            return None
        self.frames += 1
        self.fault = ""
        self._found()
        return image, stamp_ns - self._latency_ns

    def _lose(self, reason: str) -> None:
        if self._gone_since_s is None:
            self._gone_since_s = time.monotonic()
            self.losses += 1
        self.fault = f"{reason}; it is looked for until it is back"
        self._connected = False
        self.driver.close()

    def _reconnect(self) -> bool:
        try:
            self.driver.connect()
        except CameraError as error:
            self.fault = str(error)
            time.sleep(self._retry_s)
            return False
        self._expect()
        return True

    def _found(self) -> None:
        if self._gone_since_s is not None:
            gone_s, self._gone_since_s = time.monotonic() - self._gone_since_s, None
            self._tell(f"camera {self.driver.name} is back after {gone_s:.1f} s")

    def close(self) -> None:
        """Release the camera."""
        self._connected = False
        self.driver.close()
