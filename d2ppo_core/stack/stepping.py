"""Deterministic stepping: what the nodes of a simulated stack tell its world, so that it does not go on without them.

The world listens at a Unix socket named after its robot's address; every node that acts on the world's time sends a
word there when it has done what a tick of ``/clock``, a frame or a chunk asked of it. Nothing else passes here: clock,
pictures, chunks and states are ROS messages, commands are the robot's own protocol.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from d2ppo_core.errors import WorldError

STEPPING, REAL_TIME, DETERMINISTIC = "stepping", "real_time", "deterministic"
"""Parameter of every node and argument of a stack, and the two ways in which a world steps."""
TICK, DRAW, PLAN, WATCH, CHUNK = "tick", "draw", "plan", "watch", "chunk"
"""What a node may answer for: a tick of the clock; a frame that it draws, plans by or watches; a chunk that it gets."""
JOIN, LEAVE, HAND = "join", "leave", "hand"
"""It is there; it goes; its hand does not hear it."""
_SOCKET = "world.steps"
_SEND_S = 1.0
_MOST_BYTES = 4096


def channel_folder(robot_address: str) -> Path:
    """Folder in which the processes of the world at this address meet, private to the user."""
    root = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
    if not os.access(root, os.W_OK):
        root = Path(tempfile.gettempdir())
    return root / f"d2ppo-{os.getuid()}" / robot_address


@dataclass(frozen=True, kw_only=True)
class Word:
    """One thing that a node says."""

    who: str
    """Name of the node."""
    what: str
    """``TICK``, ``DRAW``, ``PLAN``, ``WATCH``, ``CHUNK``: it is done with one; ``JOIN``, ``LEAVE``, ``HAND``."""
    stamp_ns: int = 0
    """Which: time of the tick, or capture of the frame that was drawn, planned by, watched or made the chunk."""
    chunk: bool = False
    """Whether it sent a chunk, which others have to get before its time comes."""
    orders: int = 0
    """With ``TICK`` and ``HAND``: how many motions the hand has been told by now."""
    answers: tuple[str, ...] = ()
    """What the node answers for; with every word, for the world may have started later."""
    latency_ns: int = 0
    """The soonest after a capture at which its chunks may act."""
    robot: str = ""
    """With ``HAND``: address of the robot whose hand it is; empty: of the only one."""

    def to_bytes(self) -> bytes:
        """As it goes over the channel."""
        return json.dumps(asdict(self)).encode()

    @staticmethod
    def from_bytes(message: bytes) -> Word:
        """Read it back; ValueError when it is none."""
        try:
            fields = json.loads(message)
            return Word(**{**fields, "answers": tuple(fields["answers"])})
        except (TypeError, KeyError) as error:
            raise ValueError(f"no word of a node: {error}") from error


class Member:
    """A node's end; a world that is not there is told nothing."""

    def __init__(self, who: str, world_address: str) -> None:
        """Speak as ``who`` to the world of the robot at an address, which may start later."""
        self.who, self._path = who, str(channel_folder(world_address) / _SOCKET)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(_SEND_S)
        self._answers: tuple[str, ...] = ()
        self._latency_ns = 0

    def say(self, what: str, stamp_ns: int = 0, *, chunk: bool = False, orders: int = 0, robot: str = "") -> None:
        """Tell the world that something is done."""
        if self._answers:
            self._send(what, stamp_ns, chunk, orders, robot)

    def join(self, *answers: str, latency_ns: int = 0) -> None:
        """From now on the world waits for this node; a second time, it is told what changed."""
        self._answers, self._latency_ns = answers, latency_ns
        self._send(JOIN)

    def leave(self) -> None:
        """The world does not wait any more."""
        self._answers = ()
        self._send(LEAVE)

    def close(self) -> None:
        """Leave, and let the channel go."""
        self.leave()
        self._socket.close()

    def _send(self, what: str, stamp_ns: int = 0, chunk: bool = False, orders: int = 0, robot: str = "") -> None:
        word = Word(
            who=self.who,
            what=what,
            stamp_ns=stamp_ns,
            chunk=chunk,
            orders=orders,
            answers=self._answers,
            latency_ns=self._latency_ns,
            robot=robot,
        )
        with contextlib.suppress(OSError):
            self._socket.sendto(word.to_bytes(), self._path)


class Host:
    """The world's end."""

    def __init__(self, robot_address: str) -> None:
        """Listen; WorldError when another world does so at this address."""
        folder = channel_folder(robot_address)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = folder / _SOCKET
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        if self._is_heard():
            self.socket.close()
            raise WorldError(f"another world steps at {robot_address}; stop it or choose another robot_address")
        self._path.unlink(missing_ok=True)
        self.socket.bind(str(self._path))

    def _is_heard(self) -> bool:
        try:
            self.socket.connect(str(self._path))
        except OSError:
            return False
        return True

    def words(self) -> list[Word]:
        """What the nodes said since the last time; what is no word is dropped."""
        heard: list[Word] = []
        while True:
            try:
                message = self.socket.recv(_MOST_BYTES)
            except OSError:
                return heard
            with contextlib.suppress(ValueError):
                heard.append(Word.from_bytes(message))

    def close(self) -> None:
        """Stop listening."""
        self.socket.close()
        self._path.unlink(missing_ok=True)
