"""A hand whose stop cannot arrive while time stands still: the motion is ended in its place, and counted."""

import socket
from collections.abc import Iterator

import pytest

from sim.fci import wire
from sim.fci.gripper_server import GripperServer
from sim.fci.wire import GripperCommand, GripperStatus
from sim.tasks import task_named
from sim.world.world import World


class Client:
    """Speaks the hand's protocol, a message at a time; the server is pumped in between."""

    def __init__(self, server: GripperServer, address: str) -> None:
        self._server = server
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind((address, 0))
        self._tcp = socket.create_connection((address, wire.GRIPPER_PORT), timeout=5.0)
        version, port = wire.GRIPPER_VERSION, self._udp.getsockname()[1]
        self.ask(GripperCommand.CONNECT, 0, wire.CONNECT_REQUEST.pack(version, port))
        assert self.answer()[:2] == (GripperCommand.CONNECT, 0)

    def ask(self, command: int, request_id: int, payload: bytes) -> None:
        size = wire.GRIPPER_HEADER.size + len(payload)
        self._tcp.sendall(wire.GRIPPER_HEADER.pack(command, request_id, size) + payload)
        for _ in range(3):  # the connection, then what came by it
            self._server.pump()

    def answer(self) -> tuple[int, int, int]:
        command, request_id, size = wire.GRIPPER_HEADER.unpack(self._tcp.recv(wire.GRIPPER_HEADER.size))
        payload = self._tcp.recv(size - wire.GRIPPER_HEADER.size)
        return command, request_id, int.from_bytes(payload[:2], "little")

    def has_answer(self) -> bool:
        self._tcp.settimeout(0.05)
        try:
            return bool(self._tcp.recv(1, socket.MSG_PEEK))
        except TimeoutError:
            return False
        finally:
            self._tcp.settimeout(5.0)

    def close(self) -> None:
        self._tcp.close()
        self._udp.close()


@pytest.fixture
def server(robot_address: str) -> Iterator[GripperServer]:
    server = GripperServer(World(task_named("lift")), robot_address)
    yield server
    server.close()


@pytest.fixture
def client(server: GripperServer, robot_address: str) -> Iterator[Client]:
    client = Client(server, robot_address)
    yield client
    client.close()


def test_a_motion_that_is_ended_in_the_stops_place_is_answered_as_aborted_once(
    server: GripperServer, client: Client
) -> None:
    assert server.orders == 0
    client.ask(GripperCommand.MOVE, 1, wire.GRIPPER_MOVE_REQUEST.pack(0.08, 0.1))
    assert server.orders == 1 and not client.has_answer(), "time stands still: it does not arrive"
    server.abort()
    assert client.answer() == (GripperCommand.MOVE, 1, GripperStatus.ABORTED)
    server.abort()
    assert not client.has_answer()
    client.ask(GripperCommand.STOP, 2, b"")
    assert client.answer() == (GripperCommand.STOP, 2, GripperStatus.SUCCESS)
    assert server.orders == 1, "a stop is no motion"


def test_each_client_is_counted_from_its_own_start(server: GripperServer, client: Client, robot_address: str) -> None:
    client.ask(GripperCommand.MOVE, 1, wire.GRIPPER_MOVE_REQUEST.pack(0.08, 0.1))
    newer = Client(server, robot_address)
    assert server.orders == 0
    newer.close()
