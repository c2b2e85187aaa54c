"""The camera driver against librealsense itself, with its software device in place of the USB one."""

import time
from pathlib import Path

import numpy as np
import pytest

from d2ppo_core.drivers.realsense import RealSenseCamera, RealSenseConfig
from d2ppo_core.drivers.realsense_options import RealSenseOptions
from d2ppo_core.errors import CameraError, CameraGoneError, ConfigError

rs = pytest.importorskip("pyrealsense2")

from .software_camera import SoftwareCamera  # noqa: E402


@pytest.fixture
def software():
    return SoftwareCamera()


def camera(software: SoftwareCamera, now_ns=time.time_ns, **changes) -> RealSenseCamera:
    return RealSenseCamera(RealSenseConfig(name="wrist", **changes), software.find, now_ns)


def test_a_frame_arrives_whole_and_with_its_capture_time(software):
    driver = camera(software)
    driver.connect()
    try:
        software.push(stamp_ms=1_700_000_000_123.5)
        image, stamp_ns = driver.read(timeout_s=2.0)
    finally:
        driver.close()
    assert stamp_ns == pytest.approx(1_700_000_000_123_500_000, abs=1_000_000)
    np.testing.assert_array_equal(image, software.picture)
    assert (driver.serial, driver.width, driver.height) == ("0815", 640, 480)


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


def test_the_cameras_own_clock_is_mapped_to_the_hosts(software):
    software.domain = rs.timestamp_domain.hardware_clock
    arrivals_ms = iter([5_004.0, 5_039.0, 5_069.0])
    driver = camera(software, now_ns=lambda: round(next(arrivals_ms) * 1e6))
    driver.connect()
    stamps_ms = []
    for captured_ms in (1_000.0, 1_033.0, 1_066.0):
        software.push(captured_ms)
        stamps_ms.append(driver.read(timeout_s=2.0)[1] * 1e-6)
    driver.close()
    assert stamps_ms == pytest.approx([5_004.0, 5_037.0, 5_069.0])  # the last one is the quickest


def test_the_lens_is_the_factorys(software):
    driver = camera(software)
    assert driver.intrinsics() is None
    driver.connect()
    lens = driver.intrinsics()
    driver.close()
    assert (lens.fx_px, lens.fy_px, lens.cx_px, lens.cy_px) == (600.0, 610.0, 319.5, 239.5)
    assert (lens.width_px, lens.height_px, lens.distortion) == (640, 480, ())


def test_a_silent_camera_is_named(software):
    driver = camera(software)
    with pytest.raises(CameraGoneError, match="camera wrist is not connected"):
        driver.read(timeout_s=0.2)
    driver.connect()
    try:
        with pytest.raises(CameraGoneError, match=r"camera wrist delivered no frame for 0\.2 s"):
            driver.read(timeout_s=0.2)
    finally:
        driver.close()


def test_a_stream_that_the_camera_lacks_lists_those_it_has(software):
    with pytest.raises(CameraError, match=r"no rgb8 stream of 848x480 at 30 Hz; it offers \['640x480 at 30 Hz'\]"):
        camera(software, width=848).connect()


def test_no_camera_on_the_bus_says_what_to_check():
    with pytest.raises(CameraError, match="wanted exactly one RealSense, found none; check the USB cable"):
        RealSenseCamera(RealSenseConfig(name="wrist")).connect()


def test_settings_reach_the_camera_and_are_automatic_without(software):
    for options, wanted in (
        (RealSenseOptions(exposure=200.0, gain=32.0), (0.0, 200.0, 32.0)),
        (RealSenseOptions(), (1.0, 200.0, 32.0)),
    ):
        driver = camera(software, options=options)
        driver.connect()
        driver.close()
        names = rs.option.enable_auto_exposure, rs.option.exposure, rs.option.gain
        assert tuple(software.sensor.get_option(name) for name in names) == wanted


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (RealSenseOptions(exposure=50_000.0), "refuses exposure 50000: .*; it takes 1 to 10000"),
        (RealSenseOptions(white_balance_k=4600.0), "camera wrist has no setting white_balance; leave it as it is"),
        (RealSenseOptions(emitter="disabled"), "camera wrist has no setting emitter_enabled"),
    ],
)
def test_a_setting_that_the_camera_refuses_is_named_with_what_it_takes(software, options, said):
    with pytest.raises(CameraError, match=said):
        camera(software, options=options).connect()


def test_settings_that_contradict_each_other_are_refused():
    with pytest.raises(ConfigError, match="gain 16 needs an exposure too"):
        RealSenseOptions(gain=16.0)
    with pytest.raises(ConfigError, match="emitter must be one of as_is, disabled, enabled"):
        RealSenseOptions(emitter="blinking")


@pytest.fixture
def recording(software, tmp_path) -> Path:
    """Ten frames at 30 Hz, recorded by librealsense itself."""
    path = tmp_path / "wrist.db3"
    recorder = rs.recorder(str(path), software.device)
    sensor, queue = recorder.query_sensors()[0], rs.frame_queue(2)
    software.domain = rs.timestamp_domain.hardware_clock
    sensor.open(sensor.get_stream_profiles()[0])
    sensor.start(queue)
    for number in range(10):
        software.push(1_000.0 + 33.3 * number, mark=number)
        time.sleep(0.0333)
    sensor.stop()
    sensor.close()
    return path


def test_a_recording_of_librealsense_is_played_again_and_again(recording):
    driver = RealSenseCamera(RealSenseConfig(name="wrist", file=recording))
    driver.connect()
    began_ns = time.time_ns()
    frames = [driver.read(timeout_s=3.0) for _ in range(15)]
    lens, serial = driver.intrinsics(), driver.serial
    driver.close()
    marks = [int(image[0, 0, 0]) for image, _ in frames]
    stamps_ns = [stamp_ns for _, stamp_ns in frames]
    assert set(marks) <= set(range(10)) and 0 in marks[5:], "it began anew"
    assert began_ns - 2e9 < stamps_ns[0] < stamps_ns[-1] <= time.time_ns() and stamps_ns == sorted(stamps_ns)
    assert (lens.fx_px, serial) == (600.0, "0815")


def test_what_librealsense_cannot_play_is_one_line(tmp_path):
    (tmp_path / "bad.bag").write_bytes(b"no recording" * 20)
    with pytest.raises(CameraError, match=r"bad\.bag is no recording that librealsense can play"):
        RealSenseCamera(RealSenseConfig(name="wrist", file=tmp_path / "bad.bag")).connect()
