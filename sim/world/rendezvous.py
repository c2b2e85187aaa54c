"""Whom a world that steps deterministically waits for before its time goes on. No sockets, no clock, no threads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from d2ppo_core.stack.stepping import CHUNK, DRAW, HAND, JOIN, LEAVE, PLAN, TICK, WATCH, Word

_MS = 1_000_000
_ASKED = {
    TICK: "the tick",
    DRAW: "the frame",
    PLAN: "a plan by the frame",
    WATCH: "a look at the frame",
    CHUNK: "the chunk of the frame",
}


@dataclass
class _Node:
    """What one node answers for, and how far it is."""

    answers: frozenset[str]
    latency_ns: int
    lost: bool = False
    """It did not answer in time, and is not waited for before it speaks again."""
    proven: set[str] = field(default_factory=set)
    """What it has answered once. Before, it is not asked: publishers and subscribers may not have found each other."""


@dataclass
class _Frame:
    """Who is done with one frame, or with the chunk that it made due."""

    done: set[tuple[str, str]] = field(default_factory=set)
    """Node, and what it did."""
    drawn: bool = True
    """False: an instant without pictures by which somebody planned."""
    chunk: bool = False


class Rendezvous:
    """Ticks and frames that the world has shown, and the answers of the nodes that joined.

    A tick must be answered before time goes on. A frame must be drawn and watched before the next one, and planned by,
    and its chunk received, before that chunk may act: the least latency that a planner declared, and a step at least.
    Who waits for others himself is asked only when they have answered, and not at all while they are lost.
    """

    def __init__(self, step_ns: int, frame_ns: int) -> None:
        """Expect nobody yet.

        Args:
            step_ns: Time between two ticks.
            frame_ns: Time between two frames; each is drawn before the next one.
        """
        self._step_ns, self._frame_ns = step_ns, frame_ns
        self._nodes: dict[str, _Node] = {}
        self._ticked: dict[str, int] = {}
        self._tick_ns = 0
        self._frames: dict[int, _Frame] = {}
        self._past_ns = -1
        """Nobody is waited for any more about frames up to this one."""
        self._chunks_sent = False
        self._away: set[str] = set()
        """Who drew or ticked, and left: planners go without."""
        self.orders: dict[str, int] = {}
        """Commands that a node has sent to its hand."""
        self.given_up = 0
        """How often a wait ran out."""

    @property
    def joined(self) -> frozenset[str]:
        """Names of the nodes that are waited for."""
        return frozenset(name for name, node in self._nodes.items() if not node.lost)

    def unproven(self) -> dict[str, str]:
        """Return which nodes have not answered yet, and for what of all that they said they answer for."""
        possible = (
            {TICK, DRAW, WATCH} | ({PLAN} if self._can_plan() else set()) | ({CHUNK} if self._chunks_sent else set())
        )
        behind = {name: (node.answers & possible) - node.proven for name, node in self._nodes.items() if not node.lost}
        return {name: ", ".join(_ASKED[what] for what in sorted(kinds)) for name, kinds in behind.items() if kinds}

    def hear(self, word: Word) -> None:
        """Take what a node says."""
        if word.what == HAND:
            return
        if word.what == LEAVE:
            left = self._nodes.pop(word.who, None)
            self._away |= {word.who} if left is not None and left.answers & {DRAW, TICK} else set()
            self.orders.pop(word.who, None)
            return
        node = self._nodes.get(word.who)
        if word.what == JOIN or node is None:
            node = self._join(word)
        node.lost = False
        node.proven.add(word.what)
        self._chunks_sent |= word.chunk
        if word.what == TICK:
            self._ticked[word.who] = max(self._ticked[word.who], word.stamp_ns)
            self.orders[word.who] = word.orders
        frame = self._frames.get(word.stamp_ns)
        late = word.stamp_ns <= self._past_ns  # a first plan, which nobody waited for: its chunk was received, or not
        if frame is None and not late and (word.chunk or word.what == CHUNK):  # whichever of the two comes first
            frame = self._frames[word.stamp_ns] = _Frame(drawn=False)
        if frame is not None:
            frame.done.add((word.who, word.what))
            frame.chunk |= word.chunk

    def _join(self, word: Word) -> _Node:
        """Expect a node's answers to all that is shown from now on."""
        self._away.discard(word.who)
        node = self._nodes[word.who] = _Node(frozenset(word.answers), word.latency_ns)
        self._ticked[word.who] = self._tick_ns
        for frame in self._frames.values():
            frame.done |= {(word.who, what) for what in word.answers if what != CHUNK}
        return node

    def tick(self, stamp_ns: int) -> None:
        """A tick of the clock has been published."""
        self._tick_ns = stamp_ns

    def frame(self, stamp_ns: int) -> None:
        """A frame has been published."""
        self._frames[stamp_ns] = _Frame()

    def missing(self, until_ns: int) -> dict[str, str]:
        """Return who must answer, and what, before the clock may show ``until_ns``."""
        behind = {name: self._text(TICK, self._tick_ns) for name in self._asked(TICK) if not self._has_ticked(name)}
        if behind:
            return behind
        for stamp_ns, frame in sorted(self._frames.items()):
            behind = self._missing_of(stamp_ns, frame, until_ns)
            if behind:
                return behind
            if until_ns >= stamp_ns + max(self._latency_ns(), self._frame_ns):
                del self._frames[stamp_ns]
                self._past_ns = max(self._past_ns, stamp_ns)
        return {}

    def give_up(self, until_ns: int) -> str:
        """Wait no longer for whoever is missing, until he speaks again; returns one line that says for what it was."""
        missing = self.missing(until_ns)
        for name in missing:
            self._nodes[name].lost = True
            self._nodes[name].proven.clear()
        self._past_ns = max(self._past_ns, *self._frames, -1)
        self._frames.clear()
        self.given_up += 1
        return ", ".join(f"{name} ({what})" for name, what in sorted(missing.items()))

    def _missing_of(self, stamp_ns: int, frame: _Frame, until_ns: int) -> dict[str, str]:
        due_ns = stamp_ns + self._latency_ns()
        if not frame.drawn:
            return self._behind(CHUNK, stamp_ns, frame) if frame.chunk and until_ns >= due_ns else {}
        if until_ns >= min(due_ns, stamp_ns + self._frame_ns):
            behind = self._behind(DRAW, stamp_ns, frame) | self._behind(WATCH, stamp_ns, frame)
            if behind:
                return behind
        if until_ns < due_ns:
            return {}
        behind = self._behind(PLAN, stamp_ns, frame) if self._can_plan() else {}
        return behind or (self._behind(CHUNK, stamp_ns, frame) if frame.chunk else {})

    def _can_plan(self) -> bool:
        """Whether planners get what they plan by: the pictures of all cameras so far, and the state of an arm."""
        sources = [node for node in self._nodes.values() if node.answers & {DRAW, TICK}]
        complete = not self._away and not any(node.lost for node in sources)
        return complete and any(TICK in node.proven for node in sources)

    def _behind(self, what: str, stamp_ns: int, frame: _Frame) -> dict[str, str]:
        return {name: self._text(what, stamp_ns) for name in self._asked(what) if (name, what) not in frame.done}

    def _asked(self, what: str) -> Iterable[str]:
        return [name for name, node in self._nodes.items() if what in node.answers & node.proven and not node.lost]

    def _has_ticked(self, name: str) -> bool:
        return self._ticked[name] >= self._tick_ns

    def _latency_ns(self) -> int:
        declared = [node.latency_ns for node in self._nodes.values() if node.latency_ns]
        return max(self._step_ns, min(declared, default=self._step_ns))

    def _text(self, what: str, stamp_ns: int) -> str:
        return f"{_ASKED[what]} of {stamp_ns // _MS * 1e-3:.3f} s"
