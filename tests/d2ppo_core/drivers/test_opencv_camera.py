"""Video files as cameras, and USB cameras as far as a machine without one can tell."""

import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from d2ppo_core.drivers.opencv_camera import V4l2Camera, V4l2Config, VideoFile
from d2ppo_core.errors import CameraError, CameraGoneError


@pytest.fixture
def video(tmp_path) -> Path:
    """Six red frames of 64x48, each brighter than the one before, at 30 Hz."""
    path = tmp_path / "table.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30.0, (64, 48))
    for number in range(6):
        picture = np.zeros((48, 64, 3), np.uint8)
        picture[..., 2] = 40 * number
        writer.write(picture)
    writer.release()
    return path


def test_a_video_is_played_at_its_pace_and_from_the_beginning_again(video):
    driver = VideoFile("scene", video, serial="12")
    driver.connect()
    began_s, frames = time.monotonic(), [driver.read(timeout_s=1.0) for _ in range(8)]
    elapsed_s = time.monotonic() - began_s
    driver.close()
    assert (driver.width, driver.height, driver.serial, driver.intrinsics()) == (64, 48, "12", None)
    red = [round(float(image[..., 0].mean()), -1) for image, _ in frames]
    assert red == [0, 40, 80, 120, 160, 200, 0, 40]
    assert max(float(image[..., 2].mean()) for image, _ in frames) < 10, "it is RGB"
    assert elapsed_s > 0.2 and np.all(np.diff([stamp_ns for _, stamp_ns in frames]) > 0)


def test_another_rate_may_be_asked_for(video):
    driver = VideoFile("scene", video, hz=2.0)
    driver.connect()
    driver.read(timeout_s=1.0)
    with pytest.raises(CameraError, match=r"camera scene: no frame is due within 0\.1 s"):
        driver.read(timeout_s=0.1)
    driver.close()
    with pytest.raises(CameraGoneError, match="camera scene is not connected"):
        driver.read(timeout_s=0.1)


def test_a_file_that_is_no_video_is_one_line(tmp_path):
    with pytest.raises(CameraError, match="there is no file"):
        VideoFile("scene", tmp_path / "none.mp4").connect()
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(CameraError, match=r"text\.mp4 is no video that OpenCV can read"):
        VideoFile("scene", tmp_path / "text.mp4").connect()


def test_a_usb_camera_that_is_not_there_says_where_to_look(tmp_path):
    with pytest.raises(CameraError, match="there is no .*video9; see ls /dev/v4l/by-id"):
        V4l2Camera(V4l2Config(name="scene", device=str(tmp_path / "video9"))).connect()
    (tmp_path / "file").write_text("no camera")
    with pytest.raises(CameraError, match="file is no camera that V4L2 can open"):
        V4l2Camera(V4l2Config(name="scene", device=str(tmp_path / "file"))).connect()
