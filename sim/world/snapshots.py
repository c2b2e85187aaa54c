"""Carries instants of a world to the processes that draw them; the world never waits for any of them.

The channel is a folder of Unix datagram sockets, one per renderer, named after the robot's address. Whoever wants
pictures puts a socket there; the world sends each snapshot to all sockets it finds. Either side may start first.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
from uuid import uuid4

import numpy as np

from d2ppo_core.stack.stepping import channel_folder
from sim.world.world import Snapshot

_HEADER = struct.Struct("<4sIQ")
"""Magic, number of positions, stamp in ns; then that many float64."""
_MAGIC = b"d2w1"
_FRESH_QUEUE = 2
"""More messages than this waiting mean that the reader was away."""


class SnapshotPublisher:
    """The world's end."""

    def __init__(self, robot_address: str) -> None:
        """Open the channel of the robot at an address; renderers come and go."""
        self._folder = channel_folder(robot_address)
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def publish(self, snapshot: Snapshot) -> None:
        """Send to every renderer; one that is busy loses the frame, one that died is forgotten."""
        message = _HEADER.pack(_MAGIC, len(snapshot.qpos), snapshot.stamp_ns) + snapshot.qpos.tobytes()
        for path in self._folder.glob("*.sock"):
            try:
                self._socket.sendto(message, str(path))
            except BlockingIOError:
                continue
            except (ConnectionRefusedError, FileNotFoundError):
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Stop publishing."""
        self._socket.close()


class SnapshotSubscriber:
    """A renderer's end."""

    def __init__(self, robot_address: str) -> None:
        """Join the channel of the robot at an address; the world need not run yet."""
        folder = channel_folder(robot_address)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = folder / f"{os.getpid()}-{uuid4().hex[:8]}.sock"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(str(self._path))

    def newest(self, timeout_s: float) -> Snapshot | None:
        """Wait for a snapshot; older ones that piled up are dropped. None after the time-out."""
        message, count = self._drain(timeout_s)
        if count > _FRESH_QUEUE:  # a full queue keeps the oldest and refuses the newest
            message = self._drain(timeout_s)[0] or message
        if message is None:
            return None
        magic, length, stamp_ns = _HEADER.unpack_from(message)
        if magic != _MAGIC:
            return None
        return Snapshot(stamp_ns=stamp_ns, qpos=np.frombuffer(message, "<f8", length, _HEADER.size).copy())

    def _drain(self, timeout_s: float) -> tuple[bytes | None, int]:
        """Wait for messages; the last of those that are there, and how many there were."""
        select.select((self._socket,), (), (), timeout_s)
        message, count = None, 0
        with contextlib.suppress(BlockingIOError):
            while True:
                message = self._socket.recv(65536)
                count += 1
        return message, count

    def close(self) -> None:
        """Leave the channel."""
        self._socket.close()
        self._path.unlink(missing_ok=True)
