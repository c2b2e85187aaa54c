"""The camera node on librealsense's software device in place of the USB one: lenses, both pictures, unplugging."""

import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (extra ros)")
pytest.importorskip("pyrealsense2")

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from rclpy.lifecycle import TransitionCallbackReturn  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image  # noqa: E402

from d2ppo_core.calibrated import Device, Intrinsics, IntrinsicsFile, now_text, save  # noqa: E402
from d2ppo_core.drivers import realsense  # noqa: E402
from d2ppo_core.runtime.inference.view import View  # noqa: E402
from d2ppo_nodes.camera_node import CameraNode  # noqa: E402
from d2ppo_nodes.convert import image_array, time_ns  # noqa: E402
from d2ppo_nodes.qos import SENSOR  # noqa: E402

from ..d2ppo_core.drivers.software_camera import SoftwareCamera, Streaming  # noqa: E402

Heard = dict[str, list]
DONE = TransitionCallbackReturn.SUCCESS


@pytest.fixture
def software(monkeypatch) -> SoftwareCamera:
    camera = SoftwareCamera()
    monkeypatch.setattr(realsense, "_device_on_usb", camera.find)  # nothing else is replaced
    return camera


@pytest.fixture
def calibrations(tmp_path):
    lens = Intrinsics(width_px=1280, height_px=960, fx_px=1210.0, fy_px=1220.0, cx_px=639.5, cy_px=479.5)
    made = IntrinsicsFile(
        made=now_text(),
        camera=Device(name="some_name", serial="0815"),
        intrinsics=lens,
        model="pinhole",
        held_out_px=0.21,
        sd=(1.0,) * 4,
        coverage=0.9,
        views=25,
    )
    save(tmp_path, made)
    return tmp_path


@pytest.fixture
def heard(ros_domain_id: int, software: SoftwareCamera, calibrations) -> Iterator[Heard]:
    """The node, active, and what a listener heard of it."""
    given = {"driver": "realsense", "bundle": "lift_image", "calibrations": str(calibrations), "latency_ms": "5.0"}
    rclpy.init(args=["--ros-args", *(word for pair in given.items() for word in ("-p", "{}:={}".format(*pair)))])
    node, listener = CameraNode(), rclpy.create_node("listener")
    topics = {"color/image_raw": Image, "color/camera_info": CameraInfo}
    topics |= {"policy/image_raw": Image, "policy/camera_info": CameraInfo}
    found: Heard = {topic: [] for topic in topics}
    for topic, kind in topics.items():
        listener.create_subscription(kind, f"camera/wrist/{topic}", found[topic].append, SENSOR)
    found["/diagnostics"] = []
    listener.create_subscription(DiagnosticArray, "/diagnostics", found["/diagnostics"].append, SENSOR)
    executor, stop = rclpy.executors.SingleThreadedExecutor(), threading.Event()
    executor.add_node(listener)
    executor.add_node(node)

    def spin() -> None:
        while not stop.is_set():
            executor.spin_once(timeout_sec=0.05)

    thread = threading.Thread(target=spin)
    thread.start()
    assert node.trigger_configure() == DONE and node.trigger_activate() == DONE
    yield found
    assert node.trigger_shutdown() == DONE
    stop.set()
    thread.join()
    node.destroy_node()
    listener.destroy_node()
    rclpy.shutdown()


def wait(done: Callable[[], bool], seconds: float = 20.0) -> None:
    give_up_s = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < give_up_s, "waited in vain"
        time.sleep(0.02)


def test_both_pictures_and_their_lenses_are_published_and_an_unplugged_camera_comes_back(heard, software, capfd):
    with Streaming(software):
        wait(lambda: all(len(messages) > 2 for messages in heard.values()))
        own, own_lens, seen, lens, said = (heard[topic][-1] for topic in heard)
        assert said.status[0].name == "camera: camera wrist" and said.status[0].message == "ok"
        assert [value.key for value in said.status[0].values][:3] == ["frames", "dropped", "gone"]
        assert (own.height, own.width, seen.height, seen.width) == (480, 640, 96, 96)
        assert (own_lens.k[0], own_lens.k[4], lens.k[0]) == pytest.approx((605.0, 610.0, 121.0))
        by_stamp = {time_ns(message.header.stamp): message for message in heard["color/image_raw"]}
        shared = [message for message in heard["policy/image_raw"] if time_ns(message.header.stamp) in by_stamp]
        view = View(camera_hw=(480, 640), policy_hw=(96, 96))
        large = by_stamp[time_ns(shared[-1].header.stamp)]
        assert np.array_equal(image_array(shared[-1]), view.apply(image_array(large)))
        software.unplug()
        wait(lambda: "check" in heard["/diagnostics"][-1].status[0].message)
        count = len(heard["policy/image_raw"])
        software.plug()
        wait(lambda: len(heard["policy/image_raw"]) > count + 5)
    said = capfd.readouterr().err
    assert "camera wrist delivered no frame for 1.0 s; check its cable; it is looked for until it is back" in said
    assert "camera wrist is back after" in said


def test_what_is_frozen_is_not_sent_on(heard, software, capfd):
    with Streaming(software):
        wait(lambda: len(heard["policy/image_raw"]) > 3)
    with Streaming(software, frozen=True):
        time.sleep(1.5)
    counted = len(heard["policy/image_raw"])
    with Streaming(software, frozen=True):
        time.sleep(0.5)
    assert len(heard["policy/image_raw"]) == counted
    assert "camera wrist is frozen: the same picture" in capfd.readouterr().err
