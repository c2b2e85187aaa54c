"""The arm node with a robot behind it: named poses, speed, dead-man switch, chunks it refuses, stops, and a hang."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (extra ros)")

from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue  # noqa: E402
from rcl_interfaces.srv import SetParameters  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402
from std_msgs.msg import Bool  # noqa: E402

from d2ppo_core.errors import StackError  # noqa: E402
from d2ppo_core.geometry import RigidState  # noqa: E402
from d2ppo_core.runtime.inference.osc import Targets  # noqa: E402
from d2ppo_interfaces.msg import ActionChunk, ArmState  # noqa: E402
from d2ppo_interfaces.srv import GoTo  # noqa: E402
from d2ppo_nodes.client import StackClient  # noqa: E402
from d2ppo_nodes.convert import fill_targets, time_msg, transform_of  # noqa: E402
from d2ppo_nodes.qos import NEWEST, SENSOR  # noqa: E402

pytestmark = [pytest.mark.timeout(180), pytest.mark.slow]
READY = "ready: [0.0, -0.3, 0.0, -2.4, 0.0, 2.1, 0.785]"


DRIVEN = {"franky-10": ("franky", 10), "franka_rs-5": ("franka_rs", 5), "franka_rs-10": ("franka_rs", 10)}
"""Client and robot-server version: every version by a client that is installed for it."""


@pytest.fixture
def arm(request, ros_domain_id: int, robot_address: str) -> Iterator[subprocess.Popen[str]]:
    client, version = DRIVEN[getattr(request, "param", "franky-10")]
    command = [
        sys.executable,
        "-m",
        "d2ppo_core.cli.main",
        "fci-server",
        "--address",
        robot_address,
        "--robot-version",
        str(version),
    ]
    robot = subprocess.Popen(command)
    command = [sys.executable, "-m", "d2ppo_nodes.arm_node", "--ros-args", "-r", "__ns:=/test_arm"]
    for parameter in (
        f"robot_address:={robot_address}",
        f"robot:={'panda' if version == 5 else 'fr3'}",
        "prefix:=left_",
        f"client:={client}",
        "connect_timeout_s:=30.0",
        "deadman:=true",
        "hang_timeout_s:=1.5",
        f"poses:='{READY}'",
    ):
        command += ["-p", parameter]
    node = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    yield node
    for process in (node, robot):
        process.send_signal(signal.SIGCONT)
        process.terminate()
        process.wait(15)


@pytest.fixture
def client(arm: subprocess.Popen[str], ros_domain_id: int) -> Iterator[StackClient]:
    client = StackClient("/test_arm")
    client.spin_until(lambda: client.arm and client.arm.state == ArmState.IDLE, 40.0, "the arm node")
    yield client
    client.close()


def reach(client: StackClient, state: int, reason: str = "") -> None:
    def there() -> bool:
        return client.arm.state == state and reason in client.arm.reason

    client.spin_until(there, 30.0, f"arm state {state} {reason}")


def set_speed(client: StackClient, value: ParameterValue):
    request = SetParameters.Request(parameters=[Parameter(name="speed_scale", value=value)])
    service = client._node.create_client(SetParameters, "arm/set_parameters")
    client.spin_until(service.service_is_ready, 10.0, "the service")
    until = time.monotonic() + 0.5
    client.spin_until(lambda: time.monotonic() > until, 5.0, "the server to know its client")
    future = service.call_async(request)
    client.spin_until(future.done, 10.0, "an answer")
    return future.result().results[0]


def chunk(client: StackClient, **changes) -> ActionChunk:
    now_ns = time.time_ns()
    pose = transform_of(client.arm.pose)
    states = tuple(RigidState(pose, np.zeros(6)) for _ in range(10))
    message = ActionChunk(epoch=client.arm.epoch, bundle_hash="test", **changes)
    message.header.stamp, message.header.frame_id = time_msg(now_ns), client.arm.header.frame_id
    fill_targets(message, Targets(states, np.full(10, 0.04), 0.1))
    return message


def test_names_of_joints_fingers_and_frames_follow_the_robot_and_its_prefix(client):
    heard: dict[str, JointState] = {}

    def hear(topic: str) -> None:
        client._node.create_subscription(JointState, topic, lambda message: heard.update({topic: message}), SENSOR)

    hear("joint_states")
    hear("franka_gripper/joint_states")
    client.spin_until(lambda: len(heard) == 2, 20.0, "joints and fingers")
    assert set(f"left_fr3_joint{i}" for i in range(1, 8)) <= set(heard["joint_states"].name)
    assert list(heard["franka_gripper/joint_states"].name) == ["left_fr3_finger_joint1", "left_fr3_finger_joint2"]
    assert heard["joint_states"].header.frame_id == client.arm.header.frame_id == "left_fr3_link0"


@pytest.mark.parametrize("arm", DRIVEN, indirect=True)
def test_an_operator_has_the_arm_in_hand(client, arm):
    with pytest.raises(StackError, match="no pose named 'shelf'; known: home, ready"):
        client._call(GoTo, "arm/go_to", GoTo.Request(name="shelf"), 10.0)
    half = ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=0.5)
    assert set_speed(client, half).successful
    client.spin_until(lambda: client.arm.speed_scale == 0.5, 5.0, "the new speed")
    twice = ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=2.0)
    assert not set_speed(client, twice).successful
    client._call(GoTo, "arm/go_to", GoTo.Request(name="ready"), 10.0)
    reach(client, ArmState.READY, "at ready")
    client.trigger("arm/start")
    reach(client, ArmState.HOLDING, "dead-man switch")
    node = client._node
    switch, chunks = (
        node.create_publisher(Bool, "deadman", SENSOR),
        node.create_publisher(ActionChunk, "policy/chunk", NEWEST),
    )
    client.spin_until(lambda: switch.get_subscription_count() and chunks.get_subscription_count(), 10.0, "the arm")

    def press_and_send() -> bool:
        switch.publish(Bool(data=True))
        chunks.publish(chunk(client))
        return client.arm.state == ArmState.RUNNING and client.arm.deadman_held

    client.spin_until(press_and_send, 30.0, "the arm to run")
    assert client.arm.bundle_hash == "test" and client.arm.chunks_accepted > 0
    bad = chunk(client)
    bad.poses[3].position.x = float("nan")
    foreign = chunk(client)
    foreign.bundle_hash = "foreign"
    turned = chunk(client)
    turned.header.frame_id = "world"

    def send_bad() -> bool:
        switch.publish(Bool(data=True))
        chunks.publish(chunk(client))
        for message in (bad, foreign, turned):
            chunks.publish(message)
            client._executor.spin_once(timeout_sec=0.02)
        return {"not_finite", "bundle", "frame"} <= set(client.arm.refusal_reasons)

    client.spin_until(send_bad, 30.0, "refusals by their reasons")
    client.spin_until(press_and_send, 30.0, "the arm to run on")  # it may hold for want of good chunks
    reach(client, ArmState.HOLDING, "dead-man switch")
    sent = time.monotonic()
    client.publish_estop(True)
    reach(client, ArmState.ESTOPPED)
    assert time.monotonic() - sent < 1.0
    assert not any(client.arm.gripper_outcome == outcome for outcome in (ArmState.GRIPPER_FAILED,))


def test_a_process_that_hangs_is_ended_by_the_kernel(client, arm):
    client.trigger("arm/home")
    reach(client, ArmState.READY)
    arm.send_signal(signal.SIGSTOP)
    time.sleep(2.0)
    arm.send_signal(signal.SIGCONT)
    assert arm.wait(5.0) == -signal.SIGALRM
