"""A callback that fails is one line in the log and a failed answer; the node and what it made go on."""

import time
from collections.abc import Iterator

import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (extra ros)")

from rcl_interfaces.msg import SetParametersResult  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from std_msgs.msg import Bool  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from d2ppo_core.errors import RobotError  # noqa: E402
from d2ppo_nodes.guarded import TIMER_FAILURES  # noqa: E402
from d2ppo_nodes.lifecycle import StackNode  # noqa: E402
from d2ppo_nodes.qos import NEWEST  # noqa: E402


class FaultyNode(StackNode):
    """Whatever it is asked fails, in a way that nobody planned."""

    called = "faulty"

    def __init__(self) -> None:
        super().__init__()
        self.heard = self.ticks = 0
        self.tick_fails = False
        self.add_on_set_parameters_callback(self._judge)

    def configure(self) -> None:
        self.create_subscription(Bool, "hear", self._hear, NEWEST)
        self.create_service(Trigger, "ask", self._answer)
        self.create_service(Trigger, "wait", self._answer_later)
        self.create_timer(0.01, self._tick)
        self.hearing = self.create_publisher(Bool, "hear", NEWEST)
        self.asking = self.create_client(Trigger, "ask")
        self.waiting = self.create_client(Trigger, "wait")

    def _hear(self, _: Bool) -> None:
        self.heard += 1
        raise KeyError("no such joint")

    def _answer(self, _: Trigger.Request, __: Trigger.Response) -> Trigger.Response:
        return [][1]

    async def _answer_later(self, _: Trigger.Request, __: Trigger.Response) -> Trigger.Response:
        raise RobotError("the robot is gone")

    def _tick(self) -> None:
        self.ticks += 1
        if self.tick_fails:
            raise ZeroDivisionError("nothing to divide")

    def _judge(self, parameters: list[Parameter]) -> SetParametersResult:
        if parameters[0].name == "odd":
            raise TypeError("unheard of")
        return SetParametersResult(successful=True)


@pytest.fixture
def node(ros_domain_id: int) -> Iterator[FaultyNode]:
    rclpy.init(domain_id=ros_domain_id)
    node = FaultyNode()
    node.trigger_configure()
    yield node
    node.destroy_node()
    rclpy.shutdown()


def spin(node: FaultyNode, done, timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < deadline, "waited in vain"
        rclpy.spin_once(node, timeout_sec=0.05)


def call(node: FaultyNode, client) -> Trigger.Response:
    spin(node, client.service_is_ready)
    time.sleep(0.3)  # the server may find its client a moment later
    future = client.call_async(Trigger.Request())
    spin(node, future.done)
    return future.result()


def test_a_message_whose_callback_fails_is_dropped_in_one_line_that_says_where(node, capfd):
    spin(node, lambda: node.hearing.get_subscription_count() > 0)
    for count in (1, 2):
        node.hearing.publish(Bool())
        spin(node, lambda count=count: node.heard == count)
    said = capfd.readouterr()
    lines = [line for line in (said.out + said.err).splitlines() if "dropped" in line]
    assert len(lines) == 1, "once a second at most"
    assert "a message of hear is dropped: KeyError: 'no such joint' (test_guarded.py:" in lines[0]
    assert node.failure == ""


def test_a_service_whose_callback_fails_answers_so_and_answers_again(node):
    for _ in range(2):
        answer = call(node, node.asking)
        assert not answer.success and "service ask failed: IndexError: list index out of range" in answer.message
    answer = call(node, node.waiting)
    assert not answer.success and answer.message == "service wait failed: the robot is gone"


def test_a_timer_that_fails_now_and_then_goes_on_and_one_that_always_fails_ends_the_node(node):
    spin(node, lambda: node.ticks > 3)
    for _ in range(3):
        node.tick_fails, before = True, node.ticks
        spin(node, lambda before=before: node.ticks > before)
        node.tick_fails, before = False, node.ticks
        spin(node, lambda before=before: node.ticks > before)
    assert node.failure == ""
    node.tick_fails = True
    spin(node, lambda: node.failure)
    assert "ZeroDivisionError: nothing to divide (test_guarded.py:" in node.failure
    assert f"{TIMER_FAILURES} times in a row" in node.failure


def test_a_parameter_whose_callback_fails_is_refused(node):
    node.declare_parameter("even", 2)
    with pytest.raises(rclpy.exceptions.InvalidParameterValueException, match="TypeError: unheard of"):
        node.declare_parameter("odd", 1)
    assert node.set_parameters([Parameter("even", value=4)])[0].successful


def test_only_what_the_node_made_goes_when_it_is_cleaned_up(node):
    assert node.set_parameters([Parameter("use_sim_time", value=True)])[0].successful
    assert {"/clock", "/hear"} <= {subscription.topic_name for subscription in node.subscriptions}
    node.trigger_cleanup()
    assert [subscription.topic_name for subscription in node.subscriptions] == ["/clock"]
    assert not [service.srv_name for service in node.services if service.srv_name in ("/ask", "/wait")]
    assert list(node.timers) == [] and list(node.clients) == []
    node.trigger_configure()
    assert {"/clock", "/hear"} == {subscription.topic_name for subscription in node.subscriptions}
