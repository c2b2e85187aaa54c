"""Hears what a person presses, whichever quality of service his button, script or terminal publishes with."""

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from std_msgs.msg import Bool

from d2ppo_nodes.qos import LATCHED, NEWEST, SENSOR

_LOOK_S = 0.1
_LATCH_S = 1.0
"""How long a publisher that latches is listened to for what it said before."""
_REMEMBERED = 64


class Button:
    """Subscribes to a topic of Bool so that every publisher is heard and none is told that it is incompatible.

    A subscription that asks for little (best effort, volatile) hears everybody. It may lose a message, and what was
    latched before. So a second one asks for as much as all publishers that are there offer: reliable where all are,
    and what is latched for a moment after a publisher that latches has appeared. A message that comes by both counts
    once.
    """

    def __init__(self, node: Node, topic: str, pressed: Callable[[bool], None]) -> None:
        """Begin to listen; ``pressed`` is called with each value."""
        self._node, self._topic, self._pressed = node, topic, pressed
        self._heard: deque[int] = deque(maxlen=_REMEMBERED)
        self._known: set[bytes] = set()
        self._latched_until_s = 0.0
        self._profile: QoSProfile | None = None
        self._second: Subscription | None = None
        self._subscribe(SENSOR)
        node.create_timer(_LOOK_S, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _subscribe(self, profile: QoSProfile) -> Subscription:
        silent = SubscriptionEventCallbacks(use_default_callbacks=False)
        hear: Callable[..., None] = self._hear  # rclpy sees that it takes a message's stamps as well
        return self._node.create_subscription(Bool, self._topic, hear, profile, event_callbacks=silent)

    def _hear(self, message: Bool, info: dict[str, Any]) -> None:
        stamp = info["source_timestamp"]
        if stamp not in self._heard:
            self._heard.append(stamp)
            self._pressed(message.data)

    def _look(self) -> None:
        """Ask for what the publishers of this moment offer."""
        publishers = self._node.get_publishers_info_by_topic(self._topic)
        reliable = [one for one in publishers if one.qos_profile.reliability == ReliabilityPolicy.RELIABLE]
        gids = {bytes(one.endpoint_gid) for one in reliable if one.qos_profile.durability == _LATCHES}
        if gids - self._known:
            self._latched_until_s = time.monotonic() + _LATCH_S
        self._known = gids
        wanted = None
        if gids and time.monotonic() < self._latched_until_s:
            wanted = LATCHED
        elif reliable and len(reliable) == len(publishers):
            wanted = NEWEST
        if wanted is not self._profile:
            if self._second is not None:
                self._node.destroy_subscription(self._second)
            self._second = self._subscribe(wanted) if wanted is not None else None
            self._profile = wanted


_LATCHES = DurabilityPolicy.TRANSIENT_LOCAL
