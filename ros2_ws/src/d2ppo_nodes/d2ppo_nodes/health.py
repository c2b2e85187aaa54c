"""What a node says of itself on `/diagnostics`, as ROS's own tools read it."""

from collections.abc import Callable, Mapping

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

from d2ppo_nodes.convert import time_msg
from d2ppo_nodes.qos import STREAM

_PERIOD_S = 1.0

Told = tuple[str, Mapping[str, object]]
"""What is wrong, in words, empty for nothing; and values by name."""


class Health:
    """Asks once per second, in the executor, and publishes the answer."""

    def __init__(self, node: Node, name: str, tell: Callable[[], Told]) -> None:
        """Create the publisher; `name` comes after the node's own."""
        self._node, self._name, self._tell = node, name, tell
        self._pub = node.create_publisher(DiagnosticArray, "/diagnostics", STREAM)
        self._timer = node.create_timer(_PERIOD_S, self.publish)

    def publish(self) -> None:
        """Say it now."""
        wrong, values = self._tell()
        node = self._node.get_fully_qualified_name().lstrip("/")
        status = DiagnosticStatus(
            level=DiagnosticStatus.WARN if wrong else DiagnosticStatus.OK,
            name=f"{node}: {self._name}",
            message=wrong or "ok",
            values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = time_msg(self._node.get_clock().now().nanoseconds)
        self._pub.publish(message)
