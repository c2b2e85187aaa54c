"""A node's side of deterministic stepping: it tells the world when it has done what a tick or a frame asked of it."""

from collections.abc import Callable

from d2ppo_core.drivers.franka_gripper import FrankaGripper
from d2ppo_core.runtime.inference.frame_order import FrameOrder
from d2ppo_core.runtime.inference.latency import Latencies
from d2ppo_core.stack.stepping import CHUNK, DETERMINISTIC, HAND, PLAN, TICK, Member
from d2ppo_interfaces.msg import ActionChunk
from d2ppo_nodes.convert import time_ns
from d2ppo_nodes.lifecycle import StackNode

_HAND_AT_ONCE_S, _HAND_SLICE_S, _HAND_SLICES = 0.03, 0.5, 20
"""A hand that does not answer is waited for so long, and so many times."""


def member_of(node: StackNode) -> Member | None:
    """Return the node's word to the world, named after the node; None where the world does not wait."""
    if node.text("stepping") != DETERMINISTIC:
        return None
    return Member(node.get_fully_qualified_name().lstrip("/"), node.text("world_address"))


class ArmInStep:
    """What the arm node does besides at each tick, so that nothing depends on how long anything took.

    The hand is read at each tick, what it is told has been sent when the tick ends, and a chunk is taken at the first
    tick after the time at which it was published, however early it came.
    """

    def __init__(
        self,
        member: Member,
        hand: FrankaGripper,
        alive: Callable[[], None],
        warn: Callable[[str], None],
        robot_address: str = "",
    ) -> None:
        """Take the word to the world, and the hand.

        Args:
            member: Speaks to the world.
            hand: To read, and to be told.
            alive: Called now and then while the hand keeps everybody waiting.
            warn: Takes one line when that was in vain.
            robot_address: Of the robot whose hand it is; empty: the world has no other.
        """
        self._robot_address = robot_address
        self._member, self._hand, self._alive, self._warn = member, hand, alive, warn
        self._chunks: list[ActionChunk] = []
        self._mute_ms = -1

    def join(self) -> None:
        """From now on the world waits for this arm's ticks, and until it has the chunks."""
        self._member.join(TICK, CHUNK)

    def leave(self) -> None:
        """The world goes on without this arm."""
        self._member.leave()

    def keep(self, message: ActionChunk) -> None:
        """Keep a chunk until its time."""
        self._chunks.append(message)
        self._member.say(CHUNK, time_ns(message.header.stamp))

    def forget(self) -> None:
        """Drop chunks that wait."""
        self._chunks.clear()

    def begin(self, now_ns: int) -> list[ActionChunk]:
        """A tick begins: wait for the hand's state of this time; returns the chunks that are due, in order."""
        if self._hand.reading.time_ms != self._mute_ms:
            told = self._patiently(lambda slice_s: self._hand.wait_for(now_ns // 1_000_000, slice_s))
            self._mute_ms = -1 if told else self._hand.reading.time_ms
        due = [chunk for chunk in self._chunks if time_ns(chunk.published) <= now_ns]
        self._chunks = [chunk for chunk in self._chunks if time_ns(chunk.published) > now_ns]
        return sorted(due, key=lambda chunk: time_ns(chunk.published))

    def end(self, now_ns: int) -> None:
        """A tick is over: the world may go on once the hand's server has what the hand was told."""
        if self._hand.reading.time_ms != self._mute_ms:
            self._patiently(self._hand.wait_begun)
        self._member.say(TICK, now_ns, orders=self._hand.sent)

    def _patiently(self, wait: Callable[[float], bool]) -> bool:
        if wait(_HAND_AT_ONCE_S):
            return True
        for _ in range(_HAND_SLICES):
            # Who waits for the end of a motion keeps libfranka's lock, so that a stop waits for that end too, which
            # never comes while time stands still: the world ends the motion, as the stop is about to.
            self._member.say(HAND, orders=self._hand.sent, robot=self._robot_address)
            if wait(_HAND_SLICE_S):
                return True
            self._alive()
        self._warn(
            f"waited {_HAND_SLICE_S * _HAND_SLICES:g} s for the hand; goes on without, and not deterministic any more"
        )
        return False

    def close(self) -> None:
        """Leave."""
        self._member.close()


class PolicyInStep:
    """What the policy node does besides: it plans by frames in the order of capture, in the time that was declared."""

    def __init__(self, member: Member, latencies: Latencies) -> None:
        """Take the word to the world, and how long things are to take."""
        self._member, self.latencies = member, latencies
        self._answer = PLAN
        self._joined = False
        self.see(())

    def see(self, sources: tuple[str, ...], num_arms: int = 1) -> None:
        """Plan by what these sources see from now on; without any, at each of the arms' ticks."""
        self.order = FrameOrder(sources, num_arms)
        self._answer = PLAN if sources else TICK
        if self._joined:
            self.join()

    def join(self) -> None:
        """From now on the world waits for this node's plans."""
        self._joined = True
        self._member.join(self._answer, latency_ns=self.latencies.least_ns)

    def done(self, stamp_ns: int, *, chunk: bool) -> None:
        """A frame has been planned by, and a chunk was sent or not."""
        self._member.say(self._answer, stamp_ns, chunk=chunk)

    def restart(self, seed: int) -> None:
        """Begin anew with this seed."""
        self.latencies.restart(seed)

    def leave(self) -> None:
        """The world goes on without this node."""
        self._joined = False
        self._member.leave()

    def close(self) -> None:
        """Leave."""
        self._member.close()
