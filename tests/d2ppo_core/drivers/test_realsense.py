"""The camera driver against librealsense itself, with its software device in place of the USB one."""

import threading
import time

import numpy as np
import pytest

from d2ppo_core.drivers.realsense import RealSenseCamera, RealSenseConfig
from d2ppo_core.errors import CameraError, ConfigError

rs = pytest.importorskip("pyrealsense2")


class SoftwareCamera:
    """A librealsense software device with one colour stream of a known picture."""

    def __init__(self, width: int = 640, height: int = 480, hz: int = 30) -> None:
        self.device = rs.software_device()
        self.sensor = self.device.add_sensor("Colour")
        stream, k = rs.video_stream(), rs.intrinsics()
        k.width, k.height, k.ppx, k.ppy, k.fx, k.fy = width, height, 319.5, 239.5, 600.0, 610.0
        stream.type, stream.fmt, stream.intrinsics = rs.stream.color, rs.format.rgb8, k
        stream.width, stream.height, stream.fps, stream.bpp, stream.index, stream.uid = width, height, hz, 3, 0, 1
        self.profile = self.sensor.add_video_stream(stream).as_video_stream_profile()
        self.picture = np.zeros((height, width, 3), np.uint8)
        self.picture[:, : width // 2] = (200, 0, 0)
        self.picture[:, width // 2 :] = (0, 0, 100)
        self._number = 0
        self._running = threading.Event()
        self._thread: threading.Thread | None = None

    def push(self, stamp_ms: float) -> None:
        frame = rs.software_video_frame()
        frame.pixels, frame.stride, frame.bpp = self.picture, self.picture.shape[1] * 3, 3
        frame.timestamp, frame.domain = stamp_ms, rs.timestamp_domain.system_time
        frame.frame_number, frame.profile = self._number, self.profile
        self._number += 1
        self.sensor.on_video_frame(frame)


@pytest.fixture
def software():
    return SoftwareCamera()


def camera(software: SoftwareCamera, **changes) -> RealSenseCamera:
    return RealSenseCamera(RealSenseConfig(name="wrist", **changes), lambda module, serial: software.device)


def test_a_frame_arrives_cropped_scaled_and_with_its_capture_time(software):
    driver = camera(software)
    driver.connect()
    try:
        software.push(stamp_ms=1_700_000_000_123.5)
        image, stamp_ns = driver.read(timeout_s=2.0)
    finally:
        driver.close()
    assert image.shape == (96, 96, 3) and image.dtype == np.uint8
    assert stamp_ns == pytest.approx(1_700_000_000_123_500_000, abs=1_000_000)
    np.testing.assert_array_equal(image[48, 10], (200, 0, 0))
    np.testing.assert_array_equal(image[48, 85], (0, 0, 100))


def test_the_newest_of_several_waiting_frames_is_read(software):
    driver = camera(software)
    driver.connect()
    try:
        for stamp_ms in (1000.0, 1033.0):
            software.push(stamp_ms)
        time.sleep(0.1)
        _, stamp_ns = driver.read(timeout_s=2.0)
    finally:
        driver.close()
    assert stamp_ns == 1_033_000_000


def test_intrinsics_describe_the_delivered_image(software):
    driver = camera(software)
    driver.connect()
    k = driver.intrinsics()
    driver.close()
    # 480x480 is cut from the middle of 640x480 and scaled by 1/5.
    np.testing.assert_allclose([k[0, 0], k[1, 1]], [120.0, 122.0])
    np.testing.assert_allclose([k[0, 2], k[1, 2]], [47.5, 47.5], atol=1e-9)


def test_a_silent_camera_is_named(software):
    driver = camera(software)
    driver.connect()
    try:
        with pytest.raises(CameraError, match=r"camera wrist delivered no frame for 0\.2 s"):
            driver.read(timeout_s=0.2)
    finally:
        driver.close()


def test_a_stream_that_the_camera_lacks_lists_those_it_has(software):
    with pytest.raises(CameraError, match=r"no rgb8 stream of 848x480 at 30 Hz; it offers \['640x480 at 30 Hz'\]"):
        camera(software, stream_width=848).connect()


def test_no_camera_on_the_bus_says_what_to_check():
    with pytest.raises(CameraError, match="wanted exactly one RealSense, found none; check the USB cable"):
        RealSenseCamera(RealSenseConfig(name="wrist")).connect()


def test_an_image_larger_than_the_stream_is_refused():
    with pytest.raises(ConfigError, match="image 800x96 must fit into the stream 640x480"):
        RealSenseConfig(name="wrist", width=800)
