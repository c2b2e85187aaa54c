"""Intel RealSense colour camera through librealsense, cropped and scaled to what a policy was trained with."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from d2ppo_core.errors import CameraError, ConfigError

_QUEUE_FRAMES = 2


@dataclass(frozen=True, kw_only=True)
class RealSenseConfig:
    """Which camera, and what its images should look like.

    Attributes:
        name: Name of the camera on the graph.
        serial: Serial number; empty for the only camera there is.
        width: Width of the delivered image, px.
        height: Height of the delivered image, px.
        stream_width: Width of the camera's own stream, px.
        stream_height: Height of the camera's own stream, px.
        stream_hz: Rate of the camera's own stream.
    """

    name: str
    serial: str = ""
    width: int = 96
    height: int = 96
    stream_width: int = 640
    stream_height: int = 480
    stream_hz: int = 30

    def __post_init__(self) -> None:
        """Raise ConfigError when the image does not fit into the stream."""
        if not (0 < self.width <= self.stream_width and 0 < self.height <= self.stream_height):
            raise ConfigError(
                f"camera {self.name}: image {self.width}x{self.height} must fit into the stream "
                f"{self.stream_width}x{self.stream_height}"
            )


class RealSenseCamera:
    """Implements ``CameraDriver``: the centre of the stream with the image's aspect ratio, scaled down by area."""

    def __init__(self, config: RealSenseConfig, find_device: Callable[[Any, str], Any] | None = None) -> None:
        """Remember the configuration; nothing is opened yet.

        Args:
            config: Camera and image.
            find_device: Returns the librealsense device for (module, serial); the default looks on the USB bus.
        """
        self.name, self.width, self.height = config.name, config.width, config.height
        self._config = config
        self._find_device = find_device or _device_on_usb
        self._sensor: Any = None
        self._queue: Any = None
        self._intrinsics: Any = None

    def connect(self) -> None:
        """Open the colour stream.

        Raises:
            CameraError: pyrealsense2 is missing, there is no such camera, or it has no such stream.
        """
        try:
            import pyrealsense2 as rs
        except ImportError as error:
            raise CameraError(
                f"pyrealsense2 cannot be imported ({error}); run: pip install 'd2ppo-panda[realsense]' "
                "and sudo apt-get install libusb-1.0-0"
            ) from error
        device = self._find_device(rs, self._config.serial)
        self._sensor, profile = self._colour_stream(rs, device)
        self._intrinsics = profile.as_video_stream_profile().intrinsics
        self._queue = rs.frame_queue(_QUEUE_FRAMES)
        try:
            self._sensor.open(profile)
            self._sensor.start(self._queue)
        except RuntimeError as error:
            self._sensor = None
            raise CameraError(f"camera {self.name} does not start: {error}; is another program using it?") from error

    def _colour_stream(self, rs: Any, device: Any) -> tuple[Any, Any]:
        config, offered = self._config, []
        for sensor in device.query_sensors():
            for profile in sensor.get_stream_profiles():
                if profile.stream_type() != rs.stream.color or profile.format() != rs.format.rgb8:
                    continue
                video = profile.as_video_stream_profile()
                shape = (video.width(), video.height(), profile.fps())
                if shape == (config.stream_width, config.stream_height, config.stream_hz):
                    return sensor, profile
                offered.append("{}x{} at {} Hz".format(*shape))
        wanted = f"{config.stream_width}x{config.stream_height} at {config.stream_hz} Hz"
        raise CameraError(f"camera {self.name} has no rgb8 stream of {wanted}; it offers {sorted(set(offered))}")

    def read(self, timeout_s: float) -> tuple[npt.NDArray[np.uint8], int]:
        """Wait for the newest frame.

        Returns:
            (height, width, 3) uint8 RGB and the capture time in ns since the epoch.

        Raises:
            CameraError: No frame came in time.
        """
        frame = self._wait(timeout_s)
        while newer := self._queue.poll_for_frame():
            frame = newer
        image = np.asanyarray(frame.get_data())
        left, top, side_w, side_h = self._crop()
        cropped = image[top : top + side_h, left : left + side_w]
        scaled = cv2.resize(cropped, (self.width, self.height), interpolation=cv2.INTER_AREA)
        return np.asarray(scaled, dtype=np.uint8), round(frame.get_timestamp() * 1e6)

    def _wait(self, timeout_s: float) -> Any:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            frame = self._queue.poll_for_frame()
            if frame:
                return frame
            time.sleep(0.001)
        raise CameraError(f"camera {self.name} delivered no frame for {timeout_s:.1f} s; check its cable")

    def intrinsics(self) -> npt.NDArray[np.float64]:
        """Return K_camera of the delivered image, 3×3, px."""
        left, top, side_w, side_h = self._crop()
        scale_x, scale_y = self.width / side_w, self.height / side_h
        k = self._intrinsics
        return np.array(
            [
                [k.fx * scale_x, 0.0, (k.ppx - left + 0.5) * scale_x - 0.5],
                [0.0, k.fy * scale_y, (k.ppy - top + 0.5) * scale_y - 0.5],
                [0.0, 0.0, 1.0],
            ]
        )

    def _crop(self) -> tuple[int, int, int, int]:
        """Left, top, width and height of the largest centred part with the image's aspect ratio."""
        config = self._config
        scale = min(config.stream_width / self.width, config.stream_height / self.height)
        width, height = round(self.width * scale), round(self.height * scale)
        return (config.stream_width - width) // 2, (config.stream_height - height) // 2, width, height

    def close(self) -> None:
        """Stop the stream; a second call does nothing."""
        if self._sensor is not None:
            self._sensor.stop()
            self._sensor.close()
            self._sensor = None


def _device_on_usb(rs: Any, serial: str) -> Any:
    devices = {device.get_info(rs.camera_info.serial_number): device for device in rs.context().query_devices()}
    if serial and serial in devices:
        return devices[serial]
    if not serial and len(devices) == 1:
        return next(iter(devices.values()))
    wanted = f"RealSense {serial}" if serial else "exactly one RealSense"
    raise CameraError(f"wanted {wanted}, found {sorted(devices) or 'none'}; check the USB cable and udev rules")
