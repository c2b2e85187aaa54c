"""A hand's chunks on their way to an arm: `teleop/chunk` takes it over, `teleop/status` gives it back."""

from d2ppo_core.runtime.control.arm import ArmController
from d2ppo_core.runtime.control.chunk import ChunkRefusedError
from d2ppo_interfaces.msg import ActionChunk, TeleopStatus
from d2ppo_nodes.convert import chunk_of
from d2ppo_nodes.lifecycle import StackNode
from d2ppo_nodes.qos import NEWEST


class HandChunks:
    """Subscriptions of an arm node; not in a world that steps deterministically, where nobody's hand keeps time."""

    def __init__(self, node: StackNode, controller: ArmController, frame: str) -> None:
        """Begin to hear; targets must be in ``frame``."""
        self._node, self._controller, self._frame = node, controller, frame
        node.create_subscription(ActionChunk, "teleop/chunk", self._on_chunk, NEWEST)
        node.create_subscription(TeleopStatus, "teleop/status", self._on_status, NEWEST)

    def _on_chunk(self, message: ActionChunk) -> None:
        try:
            try:
                chunk = chunk_of(message, self._frame)
            except ChunkRefusedError as error:
                self._controller.refuse(error)
                raise
            self._controller.offer(chunk, self._node.now_ns(), by_hand=True)
        except ChunkRefusedError as error:
            self._node.get_logger().warning(
                f"the hand's chunk {message.sequence} refused: {error}", throttle_duration_sec=1.0
            )

    def _on_status(self, message: TeleopStatus) -> None:
        if not message.held:
            self._controller.let_go(self._node.now_ns())
