"""Every quality of service that a button, a script or a terminal publishes with is heard, and none is complained of."""

import time
from collections.abc import Callable, Iterator

import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (extra ros)")

from rclpy.event_handler import PublisherEventCallbacks  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy  # noqa: E402
from std_msgs.msg import Bool  # noqa: E402

from d2ppo_nodes.button import Button  # noqa: E402
from d2ppo_nodes.qos import STREAM  # noqa: E402

PROFILES = [
    QoSProfile(depth=1, reliability=reliability, durability=durability)
    for reliability in (ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT)
    for durability in (DurabilityPolicy.VOLATILE, DurabilityPolicy.TRANSIENT_LOCAL)
]


class Room:
    """A node with a button, another one with who presses it, and one executor for both."""

    def __init__(self, domain_id: int) -> None:
        self.context = rclpy.Context()
        self.context.init(domain_id=domain_id)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.heard: list[bool] = []
        self.complaints: list[object] = []
        self.node, self.person = self.make("listener"), self.make("person")

    def make(self, name: str) -> Node:
        node = Node(name, namespace="/button", context=self.context)
        self.executor.add_node(node)
        return node

    def listen(self) -> None:
        Button(self.node, "estop", self.heard.append)

    def publisher(self, profile: QoSProfile):
        events = PublisherEventCallbacks(incompatible_qos=self.complaints.append)
        return self.person.create_publisher(Bool, "estop", profile, event_callbacks=events)

    def spin(self, seconds: float, done: Callable[[], bool] = lambda: False) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not done():
            self.executor.spin_once(timeout_sec=0.02)

    def close(self) -> None:
        self.executor.shutdown()
        self.node.destroy_node()
        self.person.destroy_node()
        self.context.try_shutdown()


@pytest.fixture
def room(ros_domain_id: int) -> Iterator[Room]:
    room = Room(ros_domain_id)
    yield room
    room.close()


@pytest.mark.parametrize("profile", PROFILES, ids=lambda p: f"{p.reliability.name}-{p.durability.name}")
def test_every_publisher_is_heard_once_and_none_is_told_that_it_is_incompatible(
    room: Room, profile: QoSProfile
) -> None:
    room.listen()
    publisher = room.publisher(profile)
    room.spin(10.0, lambda: publisher.get_subscription_count() > 0)
    room.spin(2.0)
    for pressed in (True, False, True):
        publisher.publish(Bool(data=pressed))
        room.spin(0.3)
    assert room.heard == [True, False, True]
    assert room.complaints == []


def test_who_joins_late_hears_what_was_latched_and_hears_it_once(room: Room) -> None:
    room.publisher(PROFILES[1]).publish(Bool(data=True))
    room.listen()
    room.spin(10.0, lambda: bool(room.heard))
    room.spin(2.5)
    assert room.heard == [True] and room.complaints == []


def test_a_default_button_beside_one_that_latches_is_heard_without_a_complaint(room: Room) -> None:
    room.publisher(PROFILES[1])
    room.listen()
    room.spin(2.5)
    button = room.publisher(QoSProfile(depth=10))
    room.spin(10.0, lambda: button.get_subscription_count() > 0)
    button.publish(Bool(data=True))
    room.spin(5.0, lambda: bool(room.heard))
    assert room.heard == [True] and room.complaints == []


@pytest.mark.parametrize("profile", [PROFILES[0], PROFILES[2]], ids=["reliable", "best effort"])
def test_what_the_nodes_publish_is_heard_by_default_subscriptions_and_by_undemanding_ones(room, profile) -> None:
    publisher = room.node.create_publisher(Bool, "state", STREAM)
    heard: list[Bool] = []
    room.person.create_subscription(Bool, "state", heard.append, profile)
    room.spin(10.0, lambda: publisher.get_subscription_count() > 0)
    publisher.publish(Bool(data=True))
    room.spin(5.0, lambda: bool(heard))
    assert len(heard) == 1
