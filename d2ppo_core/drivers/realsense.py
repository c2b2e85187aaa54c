"""Intel RealSense colour camera through librealsense, or one that librealsense recorded."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from d2ppo_core.calibrated import Intrinsics
from d2ppo_core.drivers.realsense_options import RealSenseOptions
from d2ppo_core.errors import CameraError, CameraGoneError
from d2ppo_core.runtime.inference.device_clock import DeviceClock

_QUEUE_FRAMES = 2
_SLICE_MS = 100
"""Longest wait inside librealsense, so that a device that is gone is noticed."""
RECORDINGS = (".bag", ".db3")
"""What librealsense plays; it records `.db3` since 2.59."""


@dataclass(frozen=True, kw_only=True)
class RealSenseConfig:
    """Which camera, and how it is set.

    Attributes:
        name: Name of the camera on the graph.
        serial: Serial number; empty for the only camera there is.
        width: Width of the colour stream, px.
        height: Its height, px.
        hz: Its rate.
        options: Exposure and the like.
        file: A recording to be played instead, at its own size and pace, again and again; None: a camera.
    """

    name: str
    serial: str = ""
    width: int = 640
    height: int = 480
    hz: int = 30
    options: RealSenseOptions = field(default_factory=RealSenseOptions)
    file: Path | None = None


class RealSenseCamera:
    """Implements ``CameraDriver``; stamps are the camera's own, mapped to the host's clock."""

    def __init__(
        self,
        config: RealSenseConfig,
        find_device: Callable[[Any, str], Any] | None = None,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """Remember the configuration; nothing is opened yet.

        Args:
            config: Camera and stream.
            find_device: Returns the librealsense device for (module, serial); the default looks on the USB bus.
            now_ns: The host's clock.
        """
        self.name, self.serial = config.name, ""
        self.width, self.height = config.width, config.height
        self.clock = DeviceClock()
        """Of the device, by the host's."""
        self._config, self._now_ns = config, now_ns
        self._find_device = find_device or (_device_on_usb if config.file is None else self._recording)
        self._device: Any = None
        self._sensor: Any = None
        self._profile: Any = None
        self._queue: Any = None

    def connect(self) -> None:
        """Open the colour stream.

        Raises:
            CameraError: pyrealsense2 is missing, there is no such camera, it has no such stream, or refuses a setting.
        """
        try:
            import pyrealsense2 as rs
        except ImportError as error:
            raise CameraError(
                f"pyrealsense2 cannot be imported ({error}); run: pip install 'd2ppo-panda[realsense]' "
                "and sudo apt-get install libusb-1.0-0"
            ) from error
        self._device = device = self._find_device(rs, self._config.serial)
        try:
            self._open(rs, device)
        except RuntimeError as error:
            self.close()
            raise CameraError(f"camera {self.name} does not start: {error}; is another program using it?") from error

    def _open(self, rs: Any, device: Any) -> None:
        sensors = list(device.query_sensors())
        sensor, self._profile = self._colour_stream(rs, sensors)
        if self._config.file is None:
            self._config.options.apply(rs, sensor, sensors, self.name)
        number = rs.camera_info.serial_number
        self.serial = device.get_info(number) if device.supports(number) else ""
        video = self._profile.as_video_stream_profile()
        self.width, self.height = video.width(), video.height()
        self._start(rs, sensor)

    def _start(self, rs: Any, sensor: Any) -> None:
        self.clock.restart()
        self._queue = rs.frame_queue(_QUEUE_FRAMES)
        sensor.open(self._profile)
        self._sensor = sensor
        sensor.start(self._queue)

    def _colour_stream(self, rs: Any, sensors: list[Any]) -> tuple[Any, Any]:
        config, offered = self._config, []
        for sensor in sensors:
            for profile in sensor.get_stream_profiles():
                if profile.stream_type() != rs.stream.color or profile.format() != rs.format.rgb8:
                    continue
                video = profile.as_video_stream_profile()
                shape = (video.width(), video.height(), profile.fps())
                if config.file is not None or shape == (config.width, config.height, config.hz):
                    return sensor, profile
                offered.append("{}x{} at {} Hz".format(*shape))
        what = "" if config.file is not None else f" of {config.width}x{config.height} at {config.hz} Hz"
        raise CameraError(f"camera {self.name} has no rgb8 stream{what}; it offers {sorted(set(offered))}")

    def read(self, timeout_s: float) -> tuple[npt.NDArray[np.uint8], int]:
        """Wait for the newest frame.

        Returns:
            (height, width, 3) uint8 RGB and the capture time in ns since the epoch.

        Raises:
            CameraGoneError: No frame came in time, or the device is gone.
        """
        frame, arrival_ns = self._wait(timeout_s)
        while newer := self._queue.poll_for_frame():
            frame, arrival_ns = newer, self._now_ns()
        stamp_ns = round(frame.get_timestamp() * 1e6)
        on_host = frame.get_frame_timestamp_domain().name != "hardware_clock" and self._config.file is None
        image = np.asanyarray(frame.get_data()).reshape(self.height, self.width, 3)
        return image, stamp_ns if on_host else self.clock.host_ns(stamp_ns, arrival_ns)

    def _wait(self, timeout_s: float) -> tuple[Any, int]:
        if self._sensor is None:
            raise CameraGoneError(f"camera {self.name} is not connected")
        deadline_s = time.monotonic() + timeout_s
        while (left_s := deadline_s - time.monotonic()) > 0.0:
            there, frame = self._queue.try_wait_for_frame(max(1, min(_SLICE_MS, round(left_s * 1e3))))
            if there:
                return frame, self._now_ns()
            if self._config.file is not None and self._device.current_status().name == "stopped":
                self._again()
        raise CameraGoneError(f"camera {self.name} delivered no frame for {timeout_s:.1f} s; check its cable")

    def _again(self) -> None:
        """Play a recording from its beginning."""
        import pyrealsense2 as rs

        sensor = self._sensor
        self._halt()
        self._start(rs, sensor)

    def _recording(self, rs: Any, _: str) -> Any:
        try:
            return rs.context().load_device(str(self._config.file))
        except RuntimeError as error:
            raise CameraError(f"{self._config.file} is no recording that librealsense can play: {error}") from error

    def intrinsics(self) -> Intrinsics | None:
        """Return the factory's calibration of the stream; its distortion only where OpenCV has that model."""
        if self._profile is None:
            return None
        lens = self._profile.as_video_stream_profile().intrinsics
        return Intrinsics(
            width_px=lens.width,
            height_px=lens.height,
            fx_px=lens.fx,
            fy_px=lens.fy,
            cx_px=lens.ppx,
            cy_px=lens.ppy,
            distortion=tuple(map(float, lens.coeffs)) if lens.model.name == "brown_conrady" else (),
        )

    def close(self) -> None:
        """Stop the stream, whether or not the device is there; a second call does nothing."""
        self._halt()
        self._device = None

    def _halt(self) -> None:
        sensor, self._sensor = self._sensor, None
        if sensor is not None:
            for step in (sensor.stop, sensor.close):
                with contextlib.suppress(RuntimeError):  # the device is gone
                    step()


def _device_on_usb(rs: Any, serial: str) -> Any:
    devices = {device.get_info(rs.camera_info.serial_number): device for device in rs.context().query_devices()}
    if serial and serial in devices:
        return devices[serial]
    if not serial and len(devices) == 1:
        return next(iter(devices.values()))
    wanted = f"RealSense {serial}" if serial else "exactly one RealSense"
    raise CameraError(f"wanted {wanted}, found {sorted(devices) or 'none'}; check the USB cable and udev rules")
