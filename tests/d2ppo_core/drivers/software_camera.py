"""A camera of librealsense's own making: its software device, fed with arrays, that can be unplugged."""

import threading
import time
from typing import Any

import numpy as np
import pyrealsense2 as rs

from d2ppo_core.errors import CameraError


def setting(low: float, high: float, default: float) -> Any:
    found = rs.option_range()
    found.min, found.max, found.step, found.default = low, high, 1.0, default
    return found


class SoftwareCamera:
    """One colour stream of a known picture; its clock is its own unless `domain` says otherwise."""

    def __init__(self, width: int = 640, height: int = 480, hz: int = 30, serial: str = "0815") -> None:
        self.width, self.height, self.hz, self.serial = width, height, hz, serial
        self.picture = np.zeros((height, width, 3), np.uint8)
        self.picture[:, : width // 2] = (200, 0, 0)
        self.picture[:, width // 2 :] = (0, 0, 100)
        self.domain = rs.timestamp_domain.system_time
        self.plugged = True
        self.finds = 0
        self._number = 0
        self.plug()

    def plug(self) -> None:
        """A new device of the same serial, as after plugging in; librealsense lets none come back."""
        self.device = rs.software_device()
        self.device.register_info(rs.camera_info.serial_number, self.serial)
        self.sensor = self.device.add_sensor("Colour")
        stream, k = rs.video_stream(), rs.intrinsics()
        k.width, k.height, k.ppx, k.ppy, k.fx, k.fy = self.width, self.height, 319.5, 239.5, 600.0, 610.0
        stream.type, stream.fmt, stream.intrinsics = rs.stream.color, rs.format.rgb8, k
        stream.width, stream.height, stream.fps, stream.bpp = self.width, self.height, self.hz, 3
        stream.index, stream.uid = 0, 1
        self.profile = self.sensor.add_video_stream(stream).as_video_stream_profile()
        self.sensor.add_option(rs.option.exposure, setting(1.0, 10000.0, 156.0), True)
        self.sensor.add_option(rs.option.enable_auto_exposure, setting(0.0, 1.0, 1.0), True)
        self.sensor.add_option(rs.option.gain, setting(0.0, 128.0, 64.0), True)
        self.plugged = True

    def unplug(self) -> None:
        self.plugged = False

    def find(self, module: Any, serial: str) -> Any:
        """As the driver looks for a device on the bus."""
        self.finds += 1
        if not self.plugged:
            raise CameraError(f"wanted RealSense {self.serial}, found none; check the USB cable and udev rules")
        return self.device

    def push(self, stamp_ms: float, mark: int | None = None) -> None:
        """Deliver a frame; `mark` colours its first row, so that pictures differ."""
        if not self.plugged:
            return
        frame, picture = rs.software_video_frame(), self.picture.copy()
        if mark is not None:
            picture[0] = mark % 256
        frame.pixels, frame.stride, frame.bpp = picture, self.width * 3, 3
        frame.timestamp, frame.domain = stamp_ms, self.domain
        frame.frame_number, frame.profile = self._number, self.profile
        self._number += 1
        self.sensor.on_video_frame(frame)


class Streaming:
    """Delivers frames at the camera's rate in a thread, stamped with the host's time or by `clock_ms`."""

    def __init__(self, camera: SoftwareCamera, frozen: bool = False) -> None:
        self.camera, self.frozen = camera, frozen
        self.offset_ms = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        number, next_s = 0, time.monotonic()
        while not self._stop.is_set():
            self.camera.push(time.time() * 1e3 + self.offset_ms, None if self.frozen else number)
            number += 1
            next_s += 1.0 / self.camera.hz
            self._stop.wait(max(0.0, next_s - time.monotonic()))

    def __enter__(self) -> "Streaming":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
