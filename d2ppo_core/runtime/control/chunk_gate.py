"""Which chunks the arm may follow: age, epoch and origin; what is refused is counted by its reason."""

from d2ppo_core.runtime.control.chunk import ChunkRefusedError, TimedChunk

CLOCK_STEP_NS = 20_000_000
"""How far two nodes' clocks may be apart: a simulated clock comes in steps."""
QUIET_NS = 1_000_000_000
"""A publisher that sends nothing for so long has gone: another one may take its place."""


class ChunkGate:
    """Remembers whose chunks are followed since the operator's ``start``.

    The first chunk after it fixes the bundle. Another one is followed only as its successor: when the policy node,
    which had announced the bundle that is followed as the one it runs (its latched status), announces another one. A
    source that was never announced is not replaced by a policy before the next ``start``; a hand has a gate of its own,
    see ``ChunkSources``. Two publishers that send at the same time are never followed both: the first one is, until it
    has gone.
    """

    def __init__(self) -> None:
        """Begin with nobody's chunks."""
        self.refused: dict[str, int] = {}
        """Refused chunks by reason, one of ``chunk.REASONS``."""
        self.bundle_hash = ""
        """Bundle that is followed; empty until the first chunk."""
        self._announced = self._successor = ""
        self._source, self._heard_ns = "", 0

    def open(self) -> None:
        """Take the next chunk's bundle, whichever it is."""
        self.bundle_hash = self._successor = ""
        self._source = ""

    def announce(self, bundle_hash: str) -> None:
        """Take note of the bundle that the policy node says it runs; a change of the one followed is a swap."""
        if self._announced and bundle_hash != self._announced in (self.bundle_hash, self._successor):
            self._successor = bundle_hash
        self._announced = bundle_hash

    def count(self, error: ChunkRefusedError) -> None:
        """Count a refusal."""
        self.refused[error.reason] = self.refused.get(error.reason, 0) + 1

    def admit(self, chunk: TimedChunk, followed: TimedChunk | None, epoch: int, now_ns: int) -> None:
        """Let a chunk pass, or raise ChunkRefusedError.

        Args:
            chunk: What a policy sent.
            followed: The chunk being followed.
            epoch: Epoch of the arm.
            now_ns: The arm's time.
        """
        if chunk.epoch != epoch:
            raise ChunkRefusedError(f"chunk of epoch {chunk.epoch}, the arm is in epoch {epoch}", "epoch")
        chunk.refuse_if_malformed()
        if self.bundle_hash and chunk.bundle_hash not in (self.bundle_hash, self._successor):
            raise ChunkRefusedError(
                f"bundle {chunk.bundle_hash}, the arm follows {self.bundle_hash} since start and no swap was announced",
                "bundle",
            )
        if self._source not in ("", chunk.source) and now_ns - self._heard_ns < QUIET_NS:
            raise ChunkRefusedError(f"sent by {chunk.source or 'somebody'} while {self._source} still sends", "rival")
        if followed is not None and chunk.stamp_ns < followed.stamp_ns:
            late_ms = (followed.stamp_ns - chunk.stamp_ns) / 1e6
            raise ChunkRefusedError(
                f"{late_ms:.0f} ms older than the chunk followed; does a second policy run?", "older"
            )
        if chunk.stamp_ns - now_ns > CLOCK_STEP_NS:
            raise ChunkRefusedError(f"stamp lies {(chunk.stamp_ns - now_ns) / 1e6:.0f} ms in the future", "future")
        if chunk.end_ns <= now_ns:
            raise ChunkRefusedError(f"its last target was due {(now_ns - chunk.end_ns) / 1e6:.0f} ms ago", "expired")
        if chunk.bundle_hash == self._successor:
            self._successor = ""
        self.bundle_hash = chunk.bundle_hash
        self._source, self._heard_ns = chunk.source, now_ns
