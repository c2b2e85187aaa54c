"""The simulated camera draws what the world saw, at the world's own times."""

import threading

import numpy as np
import pytest

from d2ppo_core.errors import CameraError, ConfigError
from sim.rendering.offscreen import OffscreenRenderer
from sim.tasks import task_named
from sim.world.camera import SimCamera
from sim.world.snapshots import SnapshotPublisher
from sim.world.world import World

ADDRESS = "127.0.0.252"


@pytest.fixture(scope="module")
def world():
    return World(task_named("lift"), seed=3)


def test_frame_is_the_picture_of_the_snapshot_with_its_time(world):
    publisher = SnapshotPublisher(ADDRESS)
    with SimCamera(robot_address=ADDRESS) as camera:
        threading.Timer(0.1, lambda: publisher.publish(world.snapshot())).start()
        image, stamp_ns = camera.read(timeout_s=3.0)
    with OffscreenRenderer(world.model, 96, 96) as renderer:
        expected = renderer.render(world.data, "robot0_eye_in_hand")
    assert stamp_ns == world.time_ns
    assert np.array_equal(image, expected)
    publisher.close()


def test_silence_names_the_camera_and_the_world():
    with SimCamera(robot_address=ADDRESS) as camera, pytest.raises(CameraError, match="'wrist'.*127.0.0.252"):
        camera.read(timeout_s=0.05)


def test_camera_can_be_read_from_another_thread_than_it_was_connected_in(world):
    publisher, frames = SnapshotPublisher(ADDRESS), []
    with SimCamera(robot_address=ADDRESS) as camera:
        publisher.publish(world.snapshot())
        reader = threading.Thread(target=lambda: frames.append(camera.read(timeout_s=3.0)))
        reader.start()
        reader.join()
    assert frames[0][0].shape == (96, 96, 3)
    publisher.close()


def test_intrinsics_map_the_field_of_view_onto_the_image():
    with SimCamera(name="scene", width=640, height=480, robot_address=ADDRESS) as camera:
        k = camera.intrinsics().K_camera
    half_fovy_rad = np.radians(45.0) / 2
    assert k[1, 1] * np.tan(half_fovy_rad) == pytest.approx(240.0)
    assert k[0, 2] == pytest.approx(319.5) and k[1, 2] == pytest.approx(239.5)


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(CameraError, match="no camera 'ceiling'; it has scene, wrist"):
        SimCamera(name="ceiling")
    with pytest.raises(ConfigError, match="unknown task 'fold'; known are lift, can, square, transport"):
        SimCamera(task="fold")
