"""The camera node as a process, with the simulated driver: real images over real topics."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (extra ros)")

from sensor_msgs.msg import CameraInfo, CompressedImage, Image  # noqa: E402

from d2ppo_core.bundle import load_bundle, write_bundle  # noqa: E402
from d2ppo_core.runtime.inference.view import View  # noqa: E402
from d2ppo_nodes.convert import image_array  # noqa: E402
from sim.rendering.offscreen import OffscreenRenderer  # noqa: E402
from sim.tasks import task_named  # noqa: E402
from sim.world.snapshots import SnapshotPublisher  # noqa: E402
from sim.world.world import Snapshot, World  # noqa: E402

NAMESPACE = "/test_camera"
OWN, OWN_INFO, POLICY, POLICY_INFO, JPEG = TOPICS = {
    "color/image_raw": Image,
    "color/camera_info": CameraInfo,
    "policy/image_raw": Image,
    "policy/camera_info": CameraInfo,
    "color/image_raw/compressed": CompressedImage,
}


def start_node(address: str, *parameters: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "d2ppo_nodes.camera_node", "--ros-args", "-r", f"__ns:={NAMESPACE}"]
    for parameter in (f"robot_address:={address}", *parameters):
        command += ["-p", parameter]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.fixture
def node(robot_address: str, ros_domain_id: int) -> Iterator[subprocess.Popen[str]]:
    process = start_node(robot_address)
    yield process
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60.0) == 0


@pytest.fixture
def messages(ros_domain_id: int) -> Iterator[dict[str, list]]:
    """Images and camera infos as they arrive, collected in a thread."""
    context = rclpy.Context()
    context.init(domain_id=ros_domain_id)
    listener = rclpy.create_node("listener", namespace=NAMESPACE, context=context)
    executor = rclpy.executors.SingleThreadedExecutor(context=context)
    executor.add_node(listener)
    heard: dict[str, list] = {topic: [] for topic in TOPICS}
    sensor = rclpy.qos.qos_profile_sensor_data
    for topic, kind in TOPICS.items():
        listener.create_subscription(kind, f"camera/wrist/{topic}", heard[topic].append, sensor)
    stop = threading.Event()

    def spin() -> None:
        while not stop.is_set():
            executor.spin_once(timeout_sec=0.05)

    thread = threading.Thread(target=spin)
    thread.start()
    yield heard
    stop.set()
    thread.join()
    executor.shutdown()
    listener.destroy_node()
    context.try_shutdown()


def test_images_show_the_world_and_carry_its_time(node, messages, robot_address):
    world, publisher = World(task_named("lift"), seed=2), SnapshotPublisher(robot_address)
    deadline, stamp_ns = time.monotonic() + 40.0, 0
    while len(messages[OWN]) < 5 or not messages[OWN_INFO]:
        assert time.monotonic() < deadline, "no image came"
        stamp_ns += 50_000_000
        publisher.publish(Snapshot(stamp_ns=stamp_ns, qpos=world.data.qpos))
        time.sleep(0.05)
    image, info = messages[OWN][-1], messages[OWN_INFO][-1]
    assert (image.height, image.width, image.encoding, image.step) == (96, 96, "rgb8", 288)
    assert image.header.frame_id == info.header.frame_id == "wrist_color_optical_frame"
    received_ns = image.header.stamp.sec * 10**9 + image.header.stamp.nanosec
    assert received_ns % 50_000_000 == 0 and 0 < received_ns <= stamp_ns
    with OffscreenRenderer(world.model, 96, 96) as renderer:
        expected = renderer.render(world.data, "robot0_eye_in_hand")
    assert np.array_equal(np.frombuffer(image.data, np.uint8).reshape(96, 96, 3), expected)
    assert info.k[0] == pytest.approx(48.0 / np.tan(np.radians(75.0) / 2))
    assert messages[POLICY][-1].data == image.data, "it is drawn as the policy sees it"
    assert not messages[JPEG], "nobody asked for it by its parameter"
    publisher.close()


def test_the_policys_picture_has_the_size_that_the_bundle_was_trained_with(
    robot_address, ros_domain_id, messages, tmp_path
):
    shipped = load_bundle("lift_image")
    *state, picture = shipped.manifest.observations
    observations = (*state, replace(picture, shape=(84, 112, 3)))
    manifest = replace(shipped.manifest, observations=observations)
    write_bundle(tmp_path / "odd", onnx=b"no camera looks at the graph", manifest=manifest, golden=shipped.golden)
    larger = f"bundle:={tmp_path / 'odd'}", "width:=320", "height:=200", "jpeg_quality:=90"
    process = start_node(robot_address, *larger)
    world, publisher = World(task_named("lift"), seed=2), SnapshotPublisher(robot_address)
    deadline, stamp_ns = time.monotonic() + 40.0, 0
    while not all(messages.values()):
        assert time.monotonic() < deadline, "no image came"
        stamp_ns += 50_000_000
        publisher.publish(Snapshot(stamp_ns=stamp_ns, qpos=world.data.qpos))
        time.sleep(0.05)
    publisher.close()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60.0) == 0
    own, seen = messages[OWN][-1], messages[POLICY][-1]
    assert (own.height, own.width, seen.height, seen.width) == (200, 320, 84, 112)
    view = View(camera_hw=(200, 320), policy_hw=(84, 112))
    assert np.array_equal(image_array(seen), view.apply(image_array(own)))
    own_lens, lens = messages[OWN_INFO][-1], messages[POLICY_INFO][-1]
    assert (lens.height, lens.width, lens.k[4]) == (84, 112, pytest.approx(own_lens.k[4] * 84 / 200))
    jpeg = messages[JPEG][-1]
    shown = cv2.cvtColor(cv2.imdecode(np.frombuffer(jpeg.data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    assert shown.shape == (200, 320, 3) and np.abs(shown.astype(int) - image_array(own)).mean() < 3


def test_silent_world_is_named_in_the_log(robot_address, ros_domain_id):
    process = start_node(robot_address)
    time.sleep(6.0)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60.0)
    assert process.returncode == 0
    assert f"camera 'wrist' got no frame for 1 s; does the world of {robot_address} run?" in output


def test_unknown_driver_ends_the_node_with_the_known_ones(robot_address, ros_domain_id):
    process = start_node(robot_address, "driver:=webcam")
    output, _ = process.communicate(timeout=60.0)
    assert process.returncode == 1
    assert (
        "driver must be one of 'sim', 'realsense', 'v4l2', 'file', got 'webcam'" in output and "Traceback" not in output
    )


def test_a_video_is_a_camera_whose_lens_nobody_knows(robot_address, ros_domain_id, messages, tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / "table.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 30.0, (64, 48))
    for _ in range(3):
        writer.write(np.full((48, 64, 3), 90, np.uint8))
    writer.release()
    process = start_node(robot_address, "driver:=file", f"file:={tmp_path / 'table.avi'}")
    deadline = time.monotonic() + 40.0
    while len(messages[POLICY]) < 5 or not messages[OWN_INFO]:
        assert time.monotonic() < deadline, "no image came"
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60.0)
    assert process.returncode == 0
    assert (messages[POLICY][-1].height, messages[POLICY][-1].width) == (48, 64), "without a bundle all is seen"
    assert messages[OWN_INFO][-1].k[0] == 0.0 and "camera wrist: lens unknown, camera_info is zero" in output


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        (("driver:=file",), "parameter file must name a video or a recording of librealsense"),
        (("driver:=v4l2", "device:=/dev/no_camera"), "there is no /dev/no_camera; see ls /dev/v4l/by-id"),
    ],
)
def test_a_camera_that_cannot_be_opened_ends_the_node_with_one_line(parameters, said, robot_address, ros_domain_id):
    process = start_node(robot_address, *parameters)
    output, _ = process.communicate(timeout=60.0)
    assert process.returncode == 1 and said in output and "Traceback" not in output
