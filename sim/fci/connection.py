"""Sockets: listening on the robot's fixed ports, and one client's requests, states and commands."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
import time
from collections.abc import Iterator
from struct import Struct

import psutil

from d2ppo_core.errors import WorldError

MOST_UNREAD_BYTES = 1 << 20
"""Answers that may wait for a client beyond what the system buffers; one that reads so little is gone."""
MOST_REQUEST_BYTES = 4096
HELLO_S = 2.0
"""A peer that has not asked for states by then is no client."""
_KEEP_ALIVE = ((socket.TCP_KEEPIDLE, 5), (socket.TCP_KEEPINTVL, 2), (socket.TCP_KEEPCNT, 3))
"""Seconds, seconds, count: after 11 s without a sign the client's machine is gone, whether or not it said goodbye."""


def listen(address: str, port: int, *, exposed: bool = False) -> socket.socket:
    """A listening TCP socket.

    Args:
        address: One of this machine's.
        port: The robot's, or the hand's.
        exposed: Whether other machines may reach it, which moves what they like: there is no password.

    Raises:
        WorldError: the port is taken (the message names by whom), the address is not one of this machine's, or others
            could reach it.
    """
    if not exposed and not _is_loopback(address):
        raise WorldError(
            f"{address} can be reached from other machines, and whoever reaches it drives the robot: "
            "take a loopback address (127.0.0.1), or allow it by --expose (sim node: expose: true)"
        )
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


def _is_loopback(address: str) -> bool:
    """Whether only this machine reaches the address; a name counts by what it stands for, an empty one is any."""
    try:
        return ipaddress.ip_address(socket.gethostbyname(address) if address else "0.0.0.0").is_loopback
    except OSError:
        return True  # it stands for nothing: binding says so


def _owner(address: str, port: int) -> str:
    """Name and id of the process that listens there, as far as this user may know."""
    with contextlib.suppress(psutil.Error):
        for entry in psutil.net_connections(kind="tcp4"):
            if entry.status != psutil.CONN_LISTEN or entry.laddr.port != port or entry.pid is None:
                continue
            if entry.laddr.ip in (address, "0.0.0.0"):
                return f"{psutil.Process(entry.pid).name()} (process {entry.pid})"
    return "another process"


def _gone(error: OSError) -> ConnectionError:
    """Whatever the network answers besides "later" means that the client cannot be reached."""
    if isinstance(error, ConnectionError):
        return error
    return ConnectionAbortedError(f"the client cannot be reached: {error.strerror or error}")


class Connection:
    """One client: a TCP stream of requests and a UDP socket for what flows every millisecond.

    Every method that touches the network raises ConnectionError when the client is gone.
    """

    def __init__(self, tcp: socket.socket, client_host: str, server_host: str, header: Struct) -> None:
        """Take over an accepted socket; `header` packs (number, id, total size)."""
        self.tcp, self._header = tcp, header
        tcp.setblocking(False)
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEP_ALIVE:
            tcp.setsockopt(socket.IPPROTO_TCP, option, value)
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.setblocking(False)
        self.udp.bind((server_host, 0))
        self._client_host = client_host
        self._hello_until = time.monotonic() + HELLO_S
        self.ready = False
        """Whether the client has said hello, so that states may flow."""
        self._received = b""
        self._unsent = bytearray()

    @property
    def mute(self) -> bool:
        """Whether this peer has had the time to say hello and did not."""
        return not self.ready and time.monotonic() > self._hello_until

    def greet(self, udp_port: int) -> None:
        """Send states to this port of the client from now on, and take datagrams from nobody else."""
        if udp_port == 0:
            raise ConnectionAbortedError("no client listens at port 0")
        try:
            self.udp.connect((self._client_host, udp_port))
            while True:  # drop what came before, from whomever
                self.udp.recv(1)
        except BlockingIOError:
            self.ready = True
        except OSError as error:
            raise _gone(error) from error

    def requests(self) -> Iterator[tuple[int, int, bytes]]:
        """Complete requests that have arrived: number, id, payload."""
        try:
            data = self.tcp.recv(65536)
            if not data:
                raise ConnectionResetError
            self._received += data
        except BlockingIOError:
            pass
        except OSError as error:
            raise _gone(error) from error
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
        if not self.ready:
            return
        try:
            self.udp.send(state)
        except (BlockingIOError, ConnectionRefusedError):
            pass
        except OSError as error:
            raise _gone(error) from error

    def receive_into(self, buffer: bytearray) -> bool:
        """Put the client's next datagram into `buffer`; False when none is waiting or it has another size."""
        try:
            return self.udp.recv_into(buffer, 0, socket.MSG_TRUNC) == len(buffer)
        except (BlockingIOError, ConnectionRefusedError):
            return False
        except OSError as error:
            raise _gone(error) from error

    def _send_answers(self) -> None:
        try:
            while self._unsent:
                del self._unsent[: self.tcp.send(self._unsent)]
        except BlockingIOError:
            pass
        except OSError as error:
            raise _gone(error) from error

    def close(self) -> None:
        """Drop the client."""
        self.tcp.close()
        self.udp.close()


def accept(listener: socket.socket, server_host: str, header: Struct) -> Connection | None:
    """Take over the next peer that knocks; None when it has gone again, or the system has no more sockets."""
    try:
        tcp, (client_host, _) = listener.accept()
    except OSError:
        return None
    try:
        return Connection(tcp, client_host, server_host, header)
    except OSError:
        tcp.close()
        return None
