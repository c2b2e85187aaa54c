"""Names on the graph that one living node may use: a second arm or policy under the same names is refused."""

import time
from collections.abc import Iterable

from lifecycle_msgs.srv import GetState
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from d2ppo_core.errors import ConfigError

DISCOVERY_S = 1.5
"""After so long a new node has seen those that were there before, unless the machine is very busy."""
_ANSWER_S = 1.5
_ASK_AGAIN_S = 0.3


def refuse_taken_names(node: Node, topics: Iterable[str], born_s: float) -> None:
    """Raise ConfigError when another living node has this node's name or publishes on one of ``topics``.

    A node that was killed stays on the graph for some 20 s; so each of the others is asked whether it lives.

    Args:
        node: the node that wants to configure itself; its executor does not run meanwhile.
        topics: on which nobody else may publish; the node itself does not yet.
        born_s: monotonic time at which the node was made.
    """
    time.sleep(max(0.0, born_s + DISCOVERY_S - time.monotonic()))
    own = node.get_fully_qualified_name()
    others = {
        _path(info.node_namespace, info.node_name) for t in topics for info in node.get_publishers_info_by_topic(t)
    }
    names = [_path(space, name) for name, space in node.get_node_names_and_namespaces()]
    suspects = {other for other in others if other != own} | ({own} if names.count(own) > 1 else set())
    for suspect in sorted(suspects):
        if _lives(node, suspect):
            raise ConfigError(taken(suspect))


def taken(other: str) -> str:
    """Return what is wrong, and the cure, when another node has the names of this one."""
    cure = "stop it, or choose another namespace or ROS domain (d2ppo up --namespace, --domain-id)"
    return f"node {other} runs already in this ROS domain, under the names of this one; {cure}"


def _path(namespace: str, name: str) -> str:
    return f"{namespace.rstrip('/')}/{name}"


def _lives(node: Node, other: str) -> bool:
    """Ask another lifecycle node for its state; this node, which may have the same name, does not answer meanwhile."""
    asker = Node(
        f"{node.get_name()}_asks",
        namespace=node.get_namespace(),
        context=node.context,
        use_global_arguments=False,
        start_parameter_services=False,
        enable_rosout=False,
    )
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(asker)
    try:
        client = asker.create_client(GetState, f"{other}/get_state")
        deadline_s = time.monotonic() + _ANSWER_S
        while time.monotonic() < deadline_s:
            future = client.call_async(GetState.Request())
            executor.spin_until_future_complete(future, timeout_sec=_ASK_AGAIN_S)
            if future.done():
                return True
            client.remove_pending_request(future)
        return False
    finally:
        executor.shutdown(timeout_sec=1.0)
        asker.destroy_node()


class Newcomers:
    """Who began to publish where only this node should, since it did so itself.

    Of two that find each other late, the younger one gives way; the older one goes on if it does so in time.
    """

    YOUNG_S = 10.0
    PATIENCE_S = 3.0

    def __init__(self, node: Node, topic: str) -> None:
        """Take note of who is there; the node's own publisher is, and with it the remains of killed ones."""
        self._node, self._topic = node, topic
        self._known = {bytes(info.endpoint_gid) for info in node.get_publishers_info_by_topic(topic)}
        self._born_s, self._seen_s = time.monotonic(), 0.0
        self.rival = ""
        """Name of a node that came later and is still there; empty: none."""

    def look(self) -> None:
        """Look who is there."""
        infos = self._node.get_publishers_info_by_topic(self._topic)
        found = [info for info in infos if bytes(info.endpoint_gid) not in self._known]
        if found and not self.rival:
            self._seen_s = time.monotonic()
        self.rival = _path(found[0].node_namespace, found[0].node_name) if found else ""

    @property
    def gives_way(self) -> bool:
        """Whether this node is the one that should end."""
        return bool(self.rival) and self._seen_s - self._born_s < self.YOUNG_S

    @property
    def stays(self) -> bool:
        """Whether the other one had its time to end, and did not."""
        return bool(self.rival) and time.monotonic() - self._seen_s > self.PATIENCE_S
