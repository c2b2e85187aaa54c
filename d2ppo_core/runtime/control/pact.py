"""Chunks of a plan for several arms: all of them follow theirs, or none does. No ROS, no clock."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from d2ppo_core.runtime.control.chunk import TimedChunk

GRACE_NS = 60_000_000
"""Judgements that lie further apart are not about the same moment, and the plan is not followed."""
_KEPT = 16


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the chunks of one plan have in common."""

    source: str
    sequence: int
    stamp_ns: int
    epochs: tuple[int, ...]

    @staticmethod
    def of(chunk: TimedChunk) -> "Plan":
        """The plan that a chunk belongs to."""
        return Plan(source=chunk.source, sequence=chunk.sequence, stamp_ns=chunk.stamp_ns, epochs=chunk.epochs)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What one arm says of its chunk of a plan."""

    plan: Plan
    follows: bool
    at_ns: int
    """When it judged."""
    reason: str = ""
    """Why it does not follow."""


@dataclass(frozen=True, kw_only=True)
class Settled:
    """A chunk about which all arms have spoken."""

    chunk: TimedChunk
    reason: str = ""
    """Why it is not followed; empty: it is."""


class Pact:
    """One arm's end: it judges its own chunk, tells the others, and follows once all have said that they follow theirs.

    Every arm comes to the same end by the same verdicts, in whichever order they arrive: a verdict is never taken
    back, and it is by the times in them that one is too late.
    """

    def __init__(self, partners: Sequence[str]) -> None:
        """Wait for these others."""
        self.partners = tuple(partners)
        self._own: dict[Plan, tuple[TimedChunk, Verdict]] = {}
        self._heard: dict[str, dict[Plan, Verdict]] = {name: {} for name in self.partners}

    def propose(self, chunk: TimedChunk, now_ns: int) -> Verdict:
        """Say that this arm would follow its chunk; a plan is proposed once."""
        plan = Plan.of(chunk)
        verdict = Verdict(plan=plan, follows=True, at_ns=now_ns)
        self._own[plan] = chunk, verdict
        _forget_old(self._own)
        return verdict

    def hear(self, partner: str, verdict: Verdict) -> None:
        """Take what another arm says."""
        self._heard[partner][verdict.plan] = verdict
        _forget_old(self._heard[partner])

    def settled(self) -> list[Settled]:
        """Return the chunks about which all have spoken by now, each once, oldest first."""
        done = []
        for plan, (chunk, own) in list(self._own.items()):
            said = {name: heard[plan] for name, heard in self._heard.items() if plan in heard}
            against = [f"arm {name}: {v.reason}" for name, v in said.items() if not v.follows]
            if against or len(said) == len(self.partners):
                del self._own[plan]
                done.append(Settled(chunk=chunk, reason="; ".join(against) or _too_late(own, said)))
        return done

    @property
    def open(self) -> bool:
        """Whether something was proposed that is not settled."""
        return bool(self._own)

    def silent(self, now_ns: int) -> str:
        """Say who has not spoken about the newest plan although it is time to; empty: nobody."""
        for plan, (_, own) in reversed(self._own.items()):
            if now_ns - own.at_ns > GRACE_NS:
                names = " and ".join(name for name, heard in self._heard.items() if plan not in heard)
                return f"arm {names} says nothing of plan {plan.sequence}"
        return ""

    def forget(self) -> None:
        """Let go of what was proposed: the arm does not follow any more."""
        self._own.clear()


def _too_late(own: Verdict, said: dict[str, Verdict]) -> str:
    times = [own.at_ns, *(verdict.at_ns for verdict in said.values())]
    apart_ns = max(times) - min(times)
    return f"the arms judged {apart_ns / 1e6:.0f} ms apart" if apart_ns > GRACE_NS else ""


def _forget_old(plans: dict[Plan, Any]) -> None:
    while len(plans) > _KEPT:
        del plans[next(iter(plans))]
