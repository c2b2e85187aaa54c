"""The recorder node as a process: what is published is on the disk, byte for byte, and the services keep their word."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (extra ros)")

from rclpy.qos import QoSProfile, ReliabilityPolicy  # noqa: E402
from rclpy.serialization import deserialize_message  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from std_msgs.msg import String  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from d2ppo_core.runtime.recording.episode import Facts, cut_off, finished  # noqa: E402
from d2ppo_core.runtime.recording.mcap_file import messages_in  # noqa: E402
from d2ppo_interfaces.msg import ArmState, PolicyStatus, RecordStatus  # noqa: E402
from d2ppo_nodes.convert import image_msg, time_msg  # noqa: E402
from d2ppo_nodes.qos import EVERY, LATCHED, STREAM  # noqa: E402

NAMESPACE = "/test_recorder"
WRIST, SCENE = "camera/wrist/color/image_raw", "camera/scene/color/image_raw"


def start_node(folder: Path, *parameters: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "d2ppo_nodes.recorder_node", "--ros-args", "-r", f"__ns:={NAMESPACE}"]
    for parameter in (f"folder:={folder}", "task:=lift", "min_free_mib:=1", *parameters):
        command += ["-p", parameter]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


class Stage:
    """Plays the arm, the policy and two cameras, one of which offers best effort only."""

    def __init__(self, domain_id: int) -> None:
        self.context = rclpy.Context()
        self.context.init(domain_id=domain_id)
        self.node = rclpy.create_node("stage", namespace=NAMESPACE, context=self.context)
        self.executor = rclpy.executors.SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        best_effort = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        self.pictures = {
            WRIST: self.node.create_publisher(Image, WRIST, STREAM),
            SCENE: self.node.create_publisher(Image, SCENE, best_effort),
        }
        self.arms = self.node.create_publisher(ArmState, "arm/state", STREAM)
        self.button = self.node.create_publisher(String, "teleop/button", EVERY)
        self.policy = self.node.create_publisher(PolicyStatus, "policy/status", LATCHED)
        self.policy.publish(PolicyStatus(bundle_name="lift_image", bundle_hash="abc123"))
        self.status: list[RecordStatus] = []
        self.node.create_subscription(RecordStatus, "record/status", self.status.append, LATCHED)
        self.sent: list[tuple[str, Any]] = []

    def spin(self, seconds: float) -> None:
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            self.executor.spin_once(timeout_sec=0.01)

    def wait(self, done, what: str, limit_s: float = 30.0) -> None:
        until_s = time.monotonic() + limit_s
        while not done():
            assert time.monotonic() < until_s, f"waited {limit_s} s for {what}"
            self.executor.spin_once(timeout_sec=0.05)

    def show(self, number: int) -> None:
        stamp = time_msg(number * 10_000_000)
        state = ArmState(state=ArmState.RUNNING, robot_time_ms=number + 1)
        state.header.stamp, state.header.frame_id = stamp, "fr3_link0"
        self.arms.publish(state)
        self.sent.append(("arm/state", state))
        for topic, publisher in self.pictures.items():
            picture = image_msg(np.full((24, 32, 3), number % 256, np.uint8), number * 10_000_000, "camera")
            publisher.publish(picture)
            self.sent.append((topic, picture))

    def call(self, name: str) -> tuple[bool, str]:
        client = self.node.create_client(Trigger, f"record/{name}")
        self.wait(client.service_is_ready, f"record/{name}")
        self.spin(0.3)
        future = client.call_async(Trigger.Request())
        self.wait(future.done, f"an answer of record/{name}")
        self.node.destroy_client(client)
        return future.result().success, future.result().message

    def close(self) -> None:
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.shutdown()


@pytest.fixture
def stage(ros_domain_id: int) -> Iterator[Stage]:
    stage = Stage(ros_domain_id)
    yield stage
    stage.close()


@pytest.fixture
def recorder(stage: Stage, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = start_node(tmp_path / "session")
    cameras = [*stage.pictures.values(), stage.arms, stage.button]
    stage.wait(lambda: all(one.get_subscription_count() for one in cameras) and stage.status, "the recorder")
    stage.spin(0.5)
    for _ in range(5):  # what is heard before a start is not recorded
        stage.show(0)
    stage.spin(0.5)
    stage.sent.clear()
    yield process
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)


def test_what_was_published_between_start_and_end_is_on_the_disk(
    stage: Stage, recorder: subprocess.Popen[str], tmp_path: Path
) -> None:
    folder = tmp_path / "session"
    assert stage.call("success") == (False, "no episode is being recorded")
    assert stage.call("start") == (True, "episode_0001 begins")
    for number in range(1, 41):
        stage.show(number)
        stage.spin(0.02)
    stage.spin(0.3)
    done, message = stage.call("success")
    assert done and message.startswith("episode_0001: success, ")
    facts = Facts.read(folder / "episode_0001")
    assert (facts.bundle_name, facts.bundle_hash, facts.lost) == ("lift_image", "abc123", {})
    assert facts.setup["cameras"] == {"scene/color": "32x24 rgb8", "wrist/color": "32x24 rgb8"}
    assert facts.setup["base_frame"] == "fr3_link0" and facts.setup["task"] == "lift"
    assert facts.cadence_hz["arm/state"] == pytest.approx(100.0)
    (one,) = finished(folder)
    found: dict[str, list[bytes]] = {}
    for raw in messages_in(one.raw):
        found.setdefault(raw.channel.topic, []).append(raw.data)
    for topic in ("arm/state", WRIST, SCENE):
        sent = [message for source, message in stage.sent if source == topic]
        assert [deserialize_message(data, type(sent[0])) for data in found[topic]] == sent
    assert deserialize_message(found["policy/status"][0], PolicyStatus).bundle_hash == "abc123"
    assert stage.call("failure") == (False, "episode_0001 has been judged already: success")

    stage.button.publish(String(data="episode"))  # a device's buttons do the same
    stage.wait(lambda: stage.status[-1].state == RecordStatus.RECORDING, "an episode by the button")
    stage.button.publish(String(data="discard"))
    stage.wait(lambda: stage.status[-1].outcome == "discarded", "its end by the button")
    recorder_too = start_node(tmp_path / "session")
    output, _ = recorder_too.communicate(timeout=60)
    assert recorder_too.returncode == 1 and "recorder" in output  # by the folder, or by the graph

    for _ in range(5):  # cameras that say nothing would make it another set-up
        stage.show(99)
        stage.spin(0.05)
    stage.button.publish(String(data="episode"))
    stage.wait(lambda: stage.status[-1].episode == "episode_0003", "an episode by the button")
    stage.show(100)
    recorder.send_signal(signal.SIGTERM)
    recorder.wait(20)
    assert [(one.name, one.outcome) for one in finished(folder)] == [
        ("episode_0001", "success"),
        ("episode_0002", "discarded"),
        ("episode_0003", "unjudged"),
    ]
    assert finished(folder)[2].facts.stop_cause == "recorder stopped" and cut_off(folder) == ()


def test_without_a_folder_or_in_step_it_does_not_start(ros_domain_id: int, tmp_path: Path) -> None:
    for parameters, reason in (
        (("folder:=''",), "parameter folder must say"),
        (("stepping:=deterministic",), "real_time"),
    ):
        process = start_node(tmp_path, *parameters)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 1 and reason in output
