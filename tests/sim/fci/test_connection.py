"""One client's sockets: answers arrive whole and in order, and a client that does not read holds nobody up."""

import socket
import struct
import time

import numpy as np
import pytest

from sim.fci import wire
from sim.fci.connection import MOST_REQUEST_BYTES, MOST_UNREAD_BYTES, Connection
from sim.fci.kinematic_arm import KinematicArm
from sim.fci.robot_server import RobotServer

ANSWER = bytes(range(256)) * 64


@pytest.fixture
def pair():
    """Server and client side of one connection with small buffers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(listener.getsockname())
        accepted, (host, _) = listener.accept()
    accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    connection = Connection(accepted, host, "127.0.0.1", wire.HEADER)
    yield connection, client
    connection.close()
    client.close()


def test_answers_that_found_no_room_follow_with_the_states_whole_and_in_order(pair):
    connection, client = pair
    client.settimeout(5.0)
    for request_id in range(20):
        connection.reply(1, request_id, ANSWER)
    received = bytearray()
    while len(received) < 20 * (wire.HEADER.size + len(ANSWER)):
        connection.send_state(b"")
        received += client.recv(65536)
    for request_id in range(20):
        at = request_id * (wire.HEADER.size + len(ANSWER))
        assert wire.HEADER.unpack_from(received, at) == (1, request_id, wire.HEADER.size + len(ANSWER))
        assert received[at + wire.HEADER.size :][: len(ANSWER)] == ANSWER


@pytest.mark.parametrize("size", [wire.HEADER.size - 1, MOST_REQUEST_BYTES + 1])
def test_requests_of_a_size_that_none_has_are_refused_before_they_are_awaited(pair, size):
    connection, client = pair
    client.sendall(wire.HEADER.pack(1, 1, size))
    time.sleep(0.05)
    with pytest.raises(ConnectionAbortedError, match=f"{size} bytes cannot be"):
        list(connection.requests())


def test_a_client_that_reads_no_answers_is_dropped_and_never_waited_for(pair):
    connection, _ = pair
    began = time.monotonic()
    with pytest.raises(ConnectionAbortedError, match="does not read"):
        for request_id in range(4 * MOST_UNREAD_BYTES // len(ANSWER)):
            connection.reply(1, request_id, ANSWER)
    assert time.monotonic() - began < 5.0


def test_a_served_world_goes_on_beside_a_client_that_asks_and_never_reads(robot_address):
    server = RobotServer(KinematicArm(), robot_address, real_time=False)
    request = wire.HEADER.pack(server._protocol.requests.index("GetRobotModel"), 1, wire.HEADER.size)
    try:
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect((robot_address, wire.ROBOT_PORT))
            client.setblocking(False)
            dropped, deadline = False, time.monotonic() + 30.0
            while not dropped and time.monotonic() < deadline:
                try:
                    client.send(100 * request)
                except BlockingIOError:
                    pass
                except ConnectionError:
                    dropped = True
                server.run_cycle()
            assert dropped, "it still waits"
        steps = server.world.time_ns
        server.run_cycle()
        assert server.world.time_ns > steps
        with socket.create_connection((robot_address, wire.ROBOT_PORT)) as following:
            following.sendall(struct.pack("<IIIHH", 0, 7, wire.HEADER.size + 4, 10, 40000))
            for _ in range(20):
                server.run_cycle()
            following.settimeout(5.0)
            assert following.recv(100)[-3:] == wire.CONNECT_REPLY.pack(0, 10)
    finally:
        server.close()
    assert np.isfinite(server.world.q_rad).all()
