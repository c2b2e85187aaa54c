"""Whose chunks an arm follows: those of a policy, or of a hand that took over, each through a gate of its own."""

from d2ppo_core.runtime.control.chunk import ChunkRefusedError, TimedChunk
from d2ppo_core.runtime.control.chunk_gate import ChunkGate
from d2ppo_core.runtime.teleop.takeover import Takeover


class ChunkSources:
    """Two gates and the takeover between them; refusals of both are counted together."""

    def __init__(self, hand_timeout_s: float) -> None:
        """Begin with nobody's chunks; a hand that sends none for ``hand_timeout_s`` has let go."""
        self._policy_gate, self._hand_gate = ChunkGate(), ChunkGate()
        self._hand_gate.refused = self._policy_gate.refused
        self.takeover = Takeover(hand_timeout_s)

    @property
    def refused(self) -> dict[str, int]:
        """Refused chunks by reason, one of ``chunk.REASONS``."""
        return self._policy_gate.refused

    def start(self) -> None:
        """Take the next chunk's bundle, whichever it is."""
        self._policy_gate.open()
        self._hand_gate.open()

    def announce(self, bundle_hash: str) -> None:
        """Take note of the bundle that the policy node says it runs."""
        self._policy_gate.announce(bundle_hash)

    def count(self, error: ChunkRefusedError) -> None:
        """Count a refusal."""
        self._policy_gate.count(error)

    def admit(
        self, chunk: TimedChunk, followed: TimedChunk | None, epoch: int, now_ns: int, *, by_hand: bool, blind: bool
    ) -> None:
        """Let a chunk pass, or raise ChunkRefusedError as ``ChunkGate.admit``; ``blind``: the arm is not seen."""
        if blind:
            raise ChunkRefusedError("the robot's own state stopped arriving", "blind")
        if by_hand:
            self._hand_gate.admit(chunk, followed if self.takeover.by_hand else None, epoch, now_ns)
        elif self.takeover.outdated(chunk.stamp_ns):
            raise ChunkRefusedError("made from what was seen before the hand gave the arm back", "epoch")
        else:
            self._policy_gate.admit(chunk, followed, epoch, now_ns)
