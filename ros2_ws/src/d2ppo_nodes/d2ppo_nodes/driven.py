"""The arms that a policy node observes and sends chunks to: one in its own namespace, or several in theirs."""

from collections.abc import Callable, Sequence

from rclpy.qos import QoSProfile

from d2ppo_core.errors import ConfigError
from d2ppo_core.runtime.inference.osc import Targets
from d2ppo_interfaces.msg import ActionChunk, ArmState, ChunkVerdict
from d2ppo_nodes.convert import fill_targets
from d2ppo_nodes.lifecycle import StackNode
from d2ppo_nodes.qos import EVERY


def arm_names(node: StackNode) -> tuple[str, ...]:
    """Namespaces of a policy node's arms, in its policy's order; empty: the one arm of its own namespace.

    Raises:
        ConfigError: a name is none of a namespace, or there twice.
    """
    names = tuple(node.text("arms").replace(",", " ").split())
    if len(set(names)) != len(names) or not all(name.isidentifier() for name in names):
        raise ConfigError(f"parameter arms must name namespaces, as left,right; got {','.join(names)}")
    return names


class DrivenArm:
    """One arm: what it says of itself, and where its chunks go."""

    def __init__(
        self,
        node: StackNode,
        name: str,
        hear: Callable[[ArmState], None],
        hearing: QoSProfile,
        sending: QoSProfile,
    ) -> None:
        """Create the topics of the arm in this namespace; without a name in the node's own."""
        place = f"/{name}/" if name else ""
        self.frame = ""
        """In which it gives its poses; empty: it said nothing yet."""
        self.followed = False
        """Whether it wants chunks."""
        self._publisher = node.create_publisher(ActionChunk, f"{place}policy/chunk", sending)
        node.create_subscription(ArmState, f"{place}arm/state", hear, hearing)

    @staticmethod
    def hear_verdicts(node: StackNode, name: str, refused: Callable[[int], None]) -> None:
        """Call with the number of each plan that the arm in this namespace refuses."""

        def hear(verdict: ChunkVerdict) -> None:
            if not verdict.follows:
                refused(verdict.sequence)

        node.create_subscription(ChunkVerdict, f"/{name}/arm/verdict", hear, EVERY)

    def hear(self, state: ArmState) -> bool:
        """Take note of a state; False where there is no robot to plan for, as the arm says itself."""
        self.followed = state.state in (ArmState.RUNNING, ArmState.HOLDING)
        if state.state == ArmState.DISCONNECTED or state.robot_time_ms == 0:
            return False
        self.frame = state.header.frame_id
        return True

    def send(self, chunk: ActionChunk, epoch: int, targets: Targets, frame: str) -> None:
        """Send what all arms' chunks have in common, with this one's epoch, targets and frame; empty: its own."""
        chunk.epoch, chunk.header.frame_id = epoch, frame or self.frame
        fill_targets(chunk, targets)
        self._publisher.publish(chunk)


def any_followed(arms: Sequence[DrivenArm]) -> bool:
    """Whether one of them wants chunks."""
    return any(arm.followed for arm in arms)
