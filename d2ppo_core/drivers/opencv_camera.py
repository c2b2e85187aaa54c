"""USB cameras through V4L2, and video files, both by OpenCV."""

import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from d2ppo_core.calibrated import Intrinsics
from d2ppo_core.errors import CameraError, CameraGoneError


@dataclass(frozen=True, kw_only=True)
class V4l2Config:
    """Which USB camera, and how it streams.

    Attributes:
        name: Name of the camera on the graph.
        device: Its file, such as `/dev/v4l/by-id/usb-…-video-index0`, which stays the same after unplugging.
        width: px.
        height: px.
        hz: Rate.
        serial: By which its calibration is found; OpenCV cannot ask the camera.
    """

    name: str
    device: str
    width: int = 640
    height: int = 480
    hz: int = 30
    serial: str = ""


class _Captured:
    """What OpenCV reads, and nothing more is known of."""

    _capture: cv2.VideoCapture | None = None

    def intrinsics(self) -> Intrinsics | None:
        """Nothing: neither V4L2 nor a video says."""
        return None

    def close(self) -> None:
        """Let it go; a second call does nothing."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None


class V4l2Camera(_Captured):
    """Implements ``CameraDriver``; a frame is stamped when it arrives, so the camera's latency has to be given."""

    def __init__(self, config: V4l2Config) -> None:
        """Remember the configuration; nothing is opened yet."""
        self.name, self.serial = config.name, config.serial
        self.width, self.height = config.width, config.height
        self._config = config

    def connect(self) -> None:
        """Open the camera; raises CameraError where there is none, or it has no such picture."""
        config = self._config
        if not Path(config.device).exists():
            raise CameraError(f"camera {config.name}: there is no {config.device}; see ls /dev/v4l/by-id")
        wanted = {
            cv2.CAP_PROP_FRAME_WIDTH: config.width,
            cv2.CAP_PROP_FRAME_HEIGHT: config.height,
            cv2.CAP_PROP_FPS: config.hz,
            cv2.CAP_PROP_BUFFERSIZE: 1,
        }
        capture = cv2.VideoCapture(config.device, cv2.CAP_V4L2)
        if not capture.isOpened():
            raise CameraError(f"camera {config.name}: {config.device} is no camera that V4L2 can open, or is in use")
        for what, value in wanted.items():
            capture.set(what, value)
        got = round(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), round(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        if got != (config.width, config.height):
            capture.release()
            raise CameraError(
                f"camera {config.name} has no picture of {config.width}x{config.height}, the nearest is "
                f"{got[0]}x{got[1]}; see v4l2-ctl --list-formats-ext -d {config.device}"
            )
        self._capture = capture

    def read(self, timeout_s: float) -> tuple[npt.NDArray[np.uint8], int]:
        """Wait for the next frame, as long as V4L2 does (10 s): (height, width, 3) RGB and its arrival, ns.

        Raises:
            CameraGoneError: the camera delivers no more.
        """
        if self._capture is None:
            raise CameraGoneError(f"camera {self.name} is not connected")
        there, image = self._capture.read()
        if not there:
            raise CameraGoneError(f"camera {self.name} delivers no frame; check its cable")
        return _rgb(image), time.time_ns()


class VideoFile(_Captured):
    """Implements ``CameraDriver``: a video at its own pace, again and again, stamped as if it were seen now."""

    def __init__(self, name: str, path: Path, *, hz: float = 0.0, serial: str = "") -> None:
        """Take a file.

        Args:
            name: Of the camera on the graph.
            path: Of a video.
            hz: Rate at which it is played; 0: its own.
            serial: Of the camera that it is from, by which its calibration is found.
        """
        self.name, self.serial = name, serial
        self.width = self.height = 0
        self._path, self._hz = path, hz

    def connect(self) -> None:
        """Open the file; raises CameraError where it is no video."""
        if not self._path.is_file():
            raise CameraError(f"camera {self.name}: there is no file {self._path}")
        capture = cv2.VideoCapture(str(self._path))
        rate_hz = self._hz or capture.get(cv2.CAP_PROP_FPS)
        if not capture.isOpened() or rate_hz <= 0.0:
            raise CameraError(f"camera {self.name}: {self._path} is no video that OpenCV can read")
        self.width = round(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        self.height = round(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        self._capture, self._period_s = capture, 1.0 / rate_hz
        self._next_s = time.monotonic()

    def read(self, timeout_s: float) -> tuple[npt.NDArray[np.uint8], int]:
        """Wait until the next frame is due: (height, width, 3) RGB and that time, ns.

        Raises:
            CameraError: it is not due in time.
            CameraGoneError: the file cannot be read any more.
        """
        if self._capture is None:
            raise CameraGoneError(f"camera {self.name} is not connected")
        wait_s = self._next_s - time.monotonic()
        if wait_s > timeout_s:
            time.sleep(timeout_s)
            raise CameraError(f"camera {self.name}: no frame is due within {timeout_s:g} s")
        time.sleep(max(wait_s, 0.0))
        self._next_s = max(self._next_s, time.monotonic() - self._period_s) + self._period_s
        there, image = self._capture.read()
        if not there:
            self._capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
            there, image = self._capture.read()
        if not there:
            raise CameraGoneError(f"camera {self.name}: {self._path} cannot be read any more")
        return _rgb(image), time.time_ns()


def _rgb(image: cv2.typing.MatLike) -> npt.NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)
