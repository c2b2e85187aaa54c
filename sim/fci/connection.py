"""Sockets: listening on the robot's fixed ports, and one client's requests, states and commands."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator
from struct import Struct

import psutil

from d2ppo_core.errors import WorldError

MOST_UNREAD_BYTES = 1 << 20
"""Answers that may wait for a client beyond what the system buffers; one that reads so little is gone."""
MOST_REQUEST_BYTES = 4096


def listen(address: str, port: int) -> socket.socket:
    """A listening TCP socket.

    Raises:
        WorldError: the port is taken (the message names by whom), or the address is not one of this machine's.
    """
    server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server.bind((address, port))
        server.listen(4)
    except OSError as error:
        server.close()
        if error.errno != errno.EADDRINUSE:
            raise WorldError(f"cannot serve on {address}:{port}: {error.strerror or error}") from error
        raise WorldError(
            f"port {port} on {address} is in use by {_owner(address, port)}; "
            "stop it or choose another robot_address (e.g. 127.0.0.2)"
        ) from error
    server.setblocking(False)
    return server


def _owner(address: str, port: int) -> str:
    """Name and id of the process that listens there, as far as this user may know."""
    with contextlib.suppress(psutil.Error):
        for entry in psutil.net_connections(kind="tcp4"):
            if entry.status != psutil.CONN_LISTEN or entry.laddr.port != port or entry.pid is None:
                continue
            if entry.laddr.ip in (address, "0.0.0.0"):
                return f"{psutil.Process(entry.pid).name()} (process {entry.pid})"
    return "another process"


class Connection:
    """One client: a TCP stream of requests and a UDP socket for what flows every millisecond.

    Every method that touches the network raises ConnectionError when the client is gone.
    """

    def __init__(self, tcp: socket.socket, client_host: str, server_host: str, header: Struct) -> None:
        """Take over an accepted socket; `header` packs (number, id, total size)."""
        self.tcp, self._header = tcp, header
        tcp.setblocking(False)
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.setblocking(False)
        self.udp.bind((server_host, 0))
        self._client_host = client_host
        self._client: tuple[str, int] | None = None
        self._received = b""
        self._unsent = bytearray()

    @property
    def ready(self) -> bool:
        """Whether the client has said hello, so that states may flow."""
        return self._client is not None

    def greet(self, udp_port: int) -> None:
        """Send states to this port of the client from now on."""
        self._client = (self._client_host, udp_port)

    def requests(self) -> Iterator[tuple[int, int, bytes]]:
        """Complete requests that have arrived: number, id, payload."""
        with contextlib.suppress(BlockingIOError):
            data = self.tcp.recv(65536)
            if not data:
                raise ConnectionResetError
            self._received += data
        while len(self._received) >= self._header.size:
            number, request_id, size = self._header.unpack_from(self._received)
            if not self._header.size <= size <= MOST_REQUEST_BYTES:
                raise ConnectionAbortedError(f"a request of {size} bytes cannot be")
            if len(self._received) < size:
                return
            payload, self._received = self._received[self._header.size : size], self._received[size:]
            yield number, request_id, payload

    def reply(self, number: int, request_id: int, payload: bytes) -> None:
        """Answer a request; what a slow client has no room for yet waits here, so that the world never does."""
        self._unsent += self._header.pack(number, request_id, self._header.size + len(payload)) + payload
        self._send_answers()
        if len(self._unsent) > MOST_UNREAD_BYTES:
            raise ConnectionAbortedError("the client does not read its answers")

    def send_state(self, state: bytes | bytearray) -> None:
        """Send a state; a client that reads none loses it, as on a network."""
        if self._unsent:
            self._send_answers()
        if self._client is not None:
            with contextlib.suppress(BlockingIOError):
                self.udp.sendto(state, self._client)

    def receive_into(self, buffer: bytearray) -> bool:
        """Put the next datagram into `buffer`; False when none is waiting or it has another size."""
        try:
            return self.udp.recv_into(buffer) == len(buffer)
        except BlockingIOError:
            return False

    def _send_answers(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._unsent:
                del self._unsent[: self.tcp.send(self._unsent)]

    def close(self) -> None:
        """Drop the client."""
        self.tcp.close()
        self.udp.close()
