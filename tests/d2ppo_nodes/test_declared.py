"""Parameters on the graph: typed and with ranges, changeable while they can still take effect, read-only after."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (extra ros)")

from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.lifecycle import TransitionCallbackReturn  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402

from d2ppo_nodes.camera_node import CameraNode  # noqa: E402
from d2ppo_nodes.coordinator_node import CoordinatorNode  # noqa: E402
from d2ppo_nodes.lifecycle import StackNode  # noqa: E402


@pytest.fixture
def make_node(ros_domain_id: int) -> Iterator[type]:
    rclpy.init(args=[])
    nodes: list[StackNode] = []

    def make(kind: type[StackNode]) -> StackNode:
        nodes.append(kind())
        return nodes[-1]

    yield make
    for node in nodes:
        node.destroy_node()
    rclpy.shutdown()


def set_one(node: StackNode, name: str, value: object) -> tuple[bool, str]:
    (result,) = node.set_parameters([Parameter(name, value=value)])
    return result.successful, result.reason


def test_every_parameter_is_there_before_configure_with_its_type_and_range(make_node) -> None:
    node = make_node(CameraNode)
    width = node.describe_parameter("width")
    assert width.type == Parameter.Type.INTEGER.value
    assert (width.integer_range[0].from_value, width.integer_range[0].to_value) == (0, 4096)
    silence = make_node(CoordinatorNode).describe_parameter("silence_s")
    assert (silence.floating_point_range[0].from_value, silence.floating_point_range[0].to_value) == (0.05, 5.0)
    assert "sim" in node.describe_parameter("driver").additional_constraints


def test_a_value_may_change_while_it_can_take_effect_and_is_refused_with_the_reason_afterwards(make_node) -> None:
    node = make_node(CoordinatorNode)
    assert set_one(node, "silence_s", 2) == (True, ""), "a whole number is a number"
    assert node.get_parameter("silence_s").value == 2.0
    assert set_one(node, "silence_s", 20.0)[0] is False
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    successful, reason = set_one(node, "silence_s", 1.0)
    assert not successful and "silence_s takes effect at configure only" in reason
    assert node.trigger_cleanup() == TransitionCallbackReturn.SUCCESS
    assert set_one(node, "silence_s", 1.0) == (True, "")


def test_what_has_no_effect_any_more_is_not_called_successful(make_node) -> None:
    node = make_node(CameraNode)
    for name, value in (("nice", 5), ("autostart", False)):
        successful, reason = set_one(node, name, value)
        assert not successful and "read-only" in reason
    assert not set_one(node, "driver", "webcam")[0]
    assert node.get_parameter("driver").value == "sim"


@pytest.mark.parametrize(
    ("parameter", "line"),
    [
        ("silence:=1.0", "there is no parameter silence; did you mean silence_s?"),
        ("silence_s:=ten", "parameter silence_s must be a number in [0.05, 5.0], got 'ten'"),
        ("nice:=100", "parameter nice must be a whole number in [-20, 19], got 100"),
        ("arms:=left,1", "parameter arms must name two or more namespaces"),
        ("silence_s:=[1, 2.5]", "Sequence should be of same type"),
    ],
)
def test_a_wrong_parameter_ends_the_process_with_one_line(ros_domain_id: int, parameter: str, line: str) -> None:
    command = [sys.executable, "-m", "d2ppo_nodes.coordinator_node", "--ros-args", "-p", parameter]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    fatal = [text for text in (done.stdout + done.stderr).splitlines() if "FATAL" in text]
    assert len(fatal) == 1 and line in fatal[0], done.stderr
    assert "Traceback" not in done.stderr
