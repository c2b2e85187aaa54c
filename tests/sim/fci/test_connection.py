"""One client's sockets: answers arrive whole and in order, and a client that does not read holds nobody up."""

import contextlib
import resource
import socket
import struct
import time

import numpy as np
import pytest

from d2ppo_core.errors import WorldError
from sim.fci import wire
from sim.fci.connection import MOST_REQUEST_BYTES, MOST_UNREAD_BYTES, Connection, listen
from sim.fci.gripper_server import GripperServer
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
    hello = wire.HEADER.pack(0, 1, wire.HEADER.size + 4) + wire.CONNECT_REQUEST.pack(10, 40000)
    request = wire.HEADER.pack(server._protocol.requests.index("GetRobotModel"), 1, wire.HEADER.size)
    try:
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect((robot_address, wire.ROBOT_PORT))
            client.sendall(hello)
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


@pytest.fixture
def server(robot_address):
    server = RobotServer(KinematicArm(), robot_address, real_time=False)
    yield server
    server.close()


def run(server, cycles=20):
    for _ in range(cycles):
        server.run_cycle()


def greet(server, udp_port, version=10):
    """A client that has said hello."""
    client = socket.create_connection((server.address, wire.ROBOT_PORT), timeout=5.0)
    client.sendall(wire.HEADER.pack(0, 1, wire.HEADER.size + 4) + wire.CONNECT_REQUEST.pack(version, udp_port))
    run(server)
    return client


def test_a_client_that_wants_states_at_port_0_is_dropped_and_the_world_goes_on(server):
    with greet(server, 0) as client:
        assert client.recv(100) == b""
    with greet(server, 40000) as client:
        assert client.recv(100)[-3:] == wire.CONNECT_REPLY.pack(0, 10)


def test_a_hand_drops_a_client_that_wants_states_at_port_0_too(robot_address):
    hand = GripperServer(KinematicArm(), robot_address)
    hello = wire.GRIPPER_HEADER.pack(0, 1, wire.GRIPPER_HEADER.size + 4)
    with socket.create_connection((robot_address, wire.GRIPPER_PORT), timeout=5.0) as client:
        client.sendall(hello + wire.CONNECT_REQUEST.pack(wire.GRIPPER_VERSION, 0))
        for _ in range(5):
            hand.pump()
        assert client.recv(100) == b""
    hand.close()


def test_a_peer_that_says_nothing_makes_room_for_the_next_and_is_dropped_in_time(server, monkeypatch):
    with socket.create_connection((server.address, wire.ROBOT_PORT), timeout=5.0) as mute:
        run(server)
        with greet(server, 40000) as client:
            assert client.recv(100)[-3:] == wire.CONNECT_REPLY.pack(0, 10)
            assert mute.recv(1) == b"", "it was in the way"
        run(server)
    monkeypatch.setattr("sim.fci.connection.HELLO_S", 0.05)
    with socket.create_connection((server.address, wire.ROBOT_PORT), timeout=5.0) as mute:
        run(server)
        time.sleep(0.1)
        run(server)
        assert mute.recv(1) == b""


def test_nobody_asks_for_anything_before_saying_hello(server):
    with socket.create_connection((server.address, wire.ROBOT_PORT), timeout=5.0) as client:
        client.sendall(wire.HEADER.pack(server._protocol.requests.index("StopMove"), 1, wire.HEADER.size))
        run(server)
        assert client.recv(1) == b""


def test_a_mute_peer_does_not_take_the_hand_from_its_client(robot_address):
    hand = GripperServer(KinematicArm(), robot_address)
    size = wire.GRIPPER_HEADER.size
    with socket.create_connection((robot_address, wire.GRIPPER_PORT), timeout=5.0) as client:
        client.sendall(wire.GRIPPER_HEADER.pack(0, 1, size + 4) + wire.CONNECT_REQUEST.pack(3, 40000))
        hand.pump()
        assert client.recv(100)[-4:] == wire.GRIPPER_CONNECT_REPLY.pack(0, 3)
        with socket.create_connection((robot_address, wire.GRIPPER_PORT)):
            hand.pump()
            client.sendall(wire.GRIPPER_HEADER.pack(wire.GripperCommand.STOP, 2, size))
            hand.pump()
            assert client.recv(100)[-2:] == wire.GRIPPER_REPLY.pack(wire.GripperStatus.SUCCESS)
    hand.close()


def test_only_the_clients_own_datagrams_of_the_right_size_arrive(pair):
    connection, _ = pair
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger,
    ):
        client.bind(("127.0.0.1", 0))
        here = connection.udp.getsockname()
        stranger.sendto(b"early", here)
        connection.greet(client.getsockname()[1])
        buffer = bytearray(5)
        for sender, datagram in ((stranger, b"early"), (client, b"longer"), (client, b"less")):
            sender.sendto(datagram, here)
            assert not connection.receive_into(buffer), datagram
        client.sendto(b"right", here)
        assert connection.receive_into(buffer) and buffer == b"right"


@pytest.mark.parametrize("address", ["0.0.0.0", "", "192.0.2.1"])
def test_what_other_machines_could_reach_is_served_only_when_somebody_says_so(address):
    with pytest.raises(WorldError, match="--expose"):
        listen(address, wire.ROBOT_PORT)


def test_an_exposed_robot_serves_any_address():
    listen("0.0.0.0", 0, exposed=True).close()
    listen("localhost", 0).close()


def test_a_machine_without_sockets_left_goes_on_serving(server):
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    with greet(server, 40000) as client, socket.create_connection((server.address, wire.ROBOT_PORT)):
        client.recv(100)
        taken = []
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, limit[1]))
        try:
            with contextlib.suppress(OSError):
                while True:
                    taken.append(socket.socket())
            run(server)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limit)
            for sock in taken:
                sock.close()
        client.sendall(wire.HEADER.pack(server._protocol.requests.index("StopMove"), 2, wire.HEADER.size))
        run(server)
        assert client.recv(100)[-1:] == b"\0"
