"""What an arm node does about a chunk of a plan for several arms: it asks the other arms before it follows."""

from collections.abc import Callable, Sequence

from d2ppo_core.errors import ConfigError
from d2ppo_core.runtime.control.arm import ArmController
from d2ppo_core.runtime.control.chunk import ChunkRefusedError, TimedChunk
from d2ppo_core.runtime.control.pact import Pact, Plan, Verdict
from d2ppo_interfaces.msg import ChunkVerdict
from d2ppo_nodes.convert import verdict_msg, verdict_of
from d2ppo_nodes.lifecycle import StackNode
from d2ppo_nodes.qos import EVERY

_ASIDE = "it follows no chunks"


class Partners:
    """Tells the other arms what this one says of its chunks, and hears what they say of theirs."""

    def __init__(self, node: StackNode, names: Sequence[str], controller: ArmController) -> None:
        """Create the topics; without partners there is nobody to tell.

        Raises:
            ConfigError: a name is none of a namespace, or there twice.
        """
        if len(set(names)) != len(names) or not all(name.isidentifier() for name in names):
            raise ConfigError(f"parameter partners must name namespaces, as right; got {','.join(names)}")
        self._node, self._controller, self._pact = node, controller, Pact(names)
        self.settled: Callable[[], None] = lambda: None
        """Called when something was settled by what a partner said."""
        if names:
            self._publisher = node.create_publisher(ChunkVerdict, "arm/verdict", EVERY)
        for name in names:
            node.create_subscription(ChunkVerdict, f"/{name}/arm/verdict", self._hearing(name), EVERY)

    @property
    def open(self) -> bool:
        """Whether this arm waits for what others say."""
        return self._pact.open

    def offer(self, chunk: TimedChunk) -> None:
        """Follow a chunk at once if its plan moves this arm alone; else tell the others, `settle` does the rest.

        Raises:
            ChunkRefusedError: this arm does not follow it, whatever the others say.
        """
        now_ns = self._node.now_ns()
        if len(chunk.epochs) < 2:
            self._controller.offer(chunk, now_ns)
            return
        if len(chunk.epochs) != 1 + len(self._pact.partners):
            known = ", ".join(self._pact.partners) or "nobody"
            error = ChunkRefusedError(
                f"of a plan for {len(chunk.epochs)} arms, this one knows {known} beside itself (partners)", "partner"
            )
            self._controller.refuse(error)
            raise error
        if silent := self._pact.silent(now_ns):
            self._node.get_logger().warning(f"{silent}; it is not followed", throttle_duration_sec=1.0)
        try:
            follows, reason = self._controller.admit(chunk, now_ns), _ASIDE
        except ChunkRefusedError as refusal:
            self._tell(Verdict(plan=Plan.of(chunk), follows=False, at_ns=now_ns, reason=str(refusal)))
            raise
        if follows:
            self._tell(self._pact.propose(chunk, now_ns))
        else:
            self._tell(Verdict(plan=Plan.of(chunk), follows=False, at_ns=now_ns, reason=reason))

    def forget(self) -> None:
        """Let go of what was proposed."""
        self._pact.forget()

    def _tell(self, verdict: Verdict) -> None:
        self._publisher.publish(verdict_msg(verdict))

    def _hearing(self, name: str) -> Callable[[ChunkVerdict], None]:
        def hear(message: ChunkVerdict) -> None:
            was_open = self.open
            self._pact.hear(name, verdict_of(message))
            self.settle()
            if was_open and not self.open:
                self.settled()

        return hear

    def settle(self) -> None:
        """Follow what all arms have said that they follow."""
        for one in self._pact.settled():
            if not one.reason:
                self._controller.follow(one.chunk, self._node.now_ns())
                continue
            if _ASIDE not in one.reason:  # who has not started yet, or was stopped, refuses nothing
                self._controller.refuse(ChunkRefusedError(one.reason, "partner"))
            self._node.get_logger().warning(
                f"chunk {one.chunk.sequence} not followed: {one.reason}", throttle_duration_sec=1.0
            )
