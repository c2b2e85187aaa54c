"""Garbage for the robot's servers: bytes, mutated requests and mutated commands, of both protocols, to arm and hand.

Server and peer share a thread, so a seed repeats a run exactly. Nothing may leave a cycle as an exception or a warning,
no cycle may hang, and after all of it the arm is somewhere and the next client is served. D2PPO_LONG=1 sends 100 000
packets to each version, a quarter of every kind, instead of 6000.
"""

import contextlib
import os
import socket
import time
import warnings

import numpy as np
import pytest

from sim.fci import wire
from sim.fci.gripper_server import GripperServer
from sim.fci.kinematic_arm import KinematicArm
from sim.fci.robot_server import RobotServer
from sim.fci.wire import Controller, Generator, GripperCommand, RobotMode
from sim.tasks import task_named
from sim.world.world import World

PACKETS = 25_000 if "D2PPO_LONG" in os.environ else 1500
LONGEST_CYCLE_S = 3.0
"""A cycle that takes longer hangs, however busy the machine is."""
ODD = (float("nan"), float("inf"), -float("inf"), 1e308, -1e308, 5e-324, -0.0, 1e30, 1e-3, 1.0)
ODD_IDS = (0, 1, 2**31, 2**63, 2**64 - 1)
WIDE = (10.0, 3.12, 6.28)
PAYLOADS = {"Connect": 4, "StopMove": 0, "AutomaticErrorRecovery": 0, "GetRobotModel": 0, "LoadModelLibrary": 2}
PAYLOADS |= {"GetCartesianLimit": 4, "SetCollisionBehavior": 416, "SetJointImpedance": 56, "SetCartesianImpedance": 48}
PAYLOADS |= {"SetGuidingMode": 7, "SetEEToK": 128, "SetNEToEE": 128, "SetLoad": 104, "SetFilters": 40}

pytestmark = pytest.mark.timeout(1800 if "D2PPO_LONG" in os.environ else 240)


class Peer:
    """Both servers of one robot without a pace of their own, and somebody at the other end."""

    def __init__(self, address, version, arm, seed):
        self.rng = np.random.default_rng(seed)
        self.protocol = wire.PROTOCOLS[version]
        self.hand = GripperServer(arm, address)
        self.server = RobotServer(arm, address, version=version, gripper=self.hand, lockstep=False, real_time=False)
        self.longest_s, self._sockets = 0.0, ()

    def close(self):
        self.hang_up()
        self.server.close()

    def hang_up(self):
        for sock in self._sockets:
            sock.close()
        self._sockets = ()

    def run(self, cycles=1):
        """Milliseconds of the served world; what it says meanwhile."""
        for _ in range(cycles):
            began = time.monotonic()
            self.server.run_cycle()
            self.longest_s = max(self.longest_s, time.monotonic() - began)
        heard = [b"", b""]
        for at, sock in enumerate(self._sockets):
            with contextlib.suppress(OSError):
                while packet := sock.recv(1 << 16):
                    heard[at] = packet
        return heard

    def dial(self, port=wire.ROBOT_PORT):
        """A new connection without a word on it; the old one is gone."""
        self.hang_up()
        self.run(10)
        self.tcp = socket.create_connection((self.server.address, port), timeout=5.0)
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sockets = (self.tcp, self.udp)
        self.udp.bind(("127.0.0.1", 0))
        for sock in self._sockets:
            sock.setblocking(False)

    def send(self, data):
        """Tells whether anybody still listens."""
        try:
            while data:
                data = data[self.tcp.send(data) :]
        except BlockingIOError:
            self.run(10)
        except OSError:
            return False
        return True

    def request(self, name, payload=b""):
        number = self.protocol.requests.index(name)
        return self.send(wire.HEADER.pack(number, 7, wire.HEADER.size + len(payload)) + payload)

    def hello(self):
        self.dial()
        self.request("Connect", wire.CONNECT_REQUEST.pack(self.protocol.version, self.udp.getsockname()[1]))
        return self.run(3)

    def move(self, generator, controller):
        payload = wire.MOVE_REQUEST.pack(controller, generator - 1, *WIDE, *WIDE)
        if self.protocol.version == 10:
            payload += wire.MOVE_OPTIONS.pack(bool(self.rng.random() < 0.2), *[0.5] * 7)
        self.request("Move", payload)

    def mutated(self, data):
        """The same bytes but for a few, or more or fewer of them."""
        data, rng = bytearray(data), self.rng
        for _ in range(rng.integers(0, 4)):
            if data:
                data[rng.integers(len(data))] = rng.integers(256)
        if len(data) >= 8 and rng.random() < 0.5:
            at = 8 * rng.integers(len(data) // 8)
            data[at : at + 8] = np.float64(rng.choice(ODD)).tobytes()
        if rng.random() < 0.1:
            del data[rng.integers(len(data) + 1) :]
        if rng.random() < 0.1:
            data += rng.bytes(rng.integers(1, 64))
        return bytes(data)

    def check(self):
        """Nothing hung, the arm is somewhere, and the next client is served."""
        assert self.longest_s < LONGEST_CYCLE_S
        robot = self.server._robot
        assert np.isfinite(self.server.world.q_rad).all() and np.isfinite(robot._reference.q_rad).all()
        answer, state = self.hello()
        assert answer[-3:] == wire.CONNECT_REPLY.pack(0, self.protocol.version)
        assert len(state) == self.protocol.state.itemsize
        assert np.isfinite(np.frombuffer(state, self.protocol.state)["O_T_EE_d"]).all()


@pytest.fixture(params=["ideal 5", "ideal 10", "physics 10"])
def peer(request, robot_address):
    kind, version = request.param.split()
    arm = KinematicArm() if kind == "ideal" else World(task_named("lift"))
    peer = Peer(robot_address, int(version), arm, seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield peer
    peer.close()


def requests(peer):
    """Names, numbers that there are not, sizes that do not fit, payloads of odd values."""
    rng = peer.rng
    name = rng.choice(peer.protocol.requests)
    size = PAYLOADS.get(name, wire.MOVE_REQUEST.size + (peer.protocol.version == 10) * wire.MOVE_OPTIONS.size)
    values = rng.choice([*ODD, 0.5, 10.0, 100.0], size // 8 + 1).tobytes()
    payload = np.full(size // 8 + 1, rng.choice(ODD)).tobytes() if rng.random() < 0.3 else values
    number = peer.protocol.requests.index(name) if rng.random() < 0.95 else int(rng.integers(2**32))
    return wire.HEADER.pack(number, rng.integers(2**32), wire.HEADER.size + size) + payload[:size]


def test_requests_of_any_content_end_no_server(peer):
    for count in range(PACKETS):
        if count % 50 == 0 or not peer.send(peer.mutated(requests(peer))):
            peer.dial() if peer.rng.random() < 0.2 else peer.hello()
        peer.run(int(peer.rng.integers(0, 3)))
    peer.check()


def test_bytes_without_sense_end_no_server(peer):
    for count in range(PACKETS):
        if count % 20 == 0 or not peer.send(peer.rng.bytes(peer.rng.integers(1, 200))):
            peer.dial()
        peer.run(int(peer.rng.integers(0, 3)))
    peer.check()


def commands(peer, state):
    """A command that holds still, then damaged; sometimes of another instant."""
    data = bytearray(peer.protocol.command.itemsize)
    fields, told, rng = (
        wire.field_views(data, peer.protocol.command),
        np.frombuffer(state, peer.protocol.state),
        peer.rng,
    )
    fields["message_id"][0] = told["message_id"][0] if rng.random() < 0.9 else rng.choice(np.array(ODD_IDS, np.uint64))
    fields["q_c"][:], fields["O_T_EE_c"][:] = told["q_d"][0], told["O_T_EE_c"][0]
    fields["elbow_c"][:], fields["valid_elbow"][0] = told["elbow_c"][0], rng.random() < 0.2
    fields["motion_finished"][0] = rng.random() < 0.05
    data = bytes(data)
    return data if rng.random() < 0.7 else data[:8] + peer.mutated(data[8:])


def test_commands_of_any_content_end_no_server(peer):
    stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    peer.hello()
    state, moves = b"", 0
    for _ in range(PACKETS):
        robot = peer.server._robot
        if robot.mode is RobotMode.REFLEX:
            peer.request("AutomaticErrorRecovery")
            peer.run(30)
        if robot.motion is None:
            peer.move(peer.rng.choice(list(Generator)[1:5]), peer.rng.choice(list(Controller)[:3]))
            state = peer.run(3)[1] or state
            moves += robot.motion is not None
        connection = peer.server._connection
        if connection is None:
            peer.hello()
            continue
        sender = peer.udp if peer.rng.random() < 0.9 else stranger
        sender.sendto(commands(peer, state), connection.udp.getsockname())
        state = peer.run(int(peer.rng.integers(1, 3)))[1] or state
    assert moves > PACKETS / 100, "the commands met motions"
    stranger.close()
    peer.check()


def test_a_hand_answers_requests_of_any_content_or_drops_their_sender(peer):
    sizes = {GripperCommand.CONNECT: 4, GripperCommand.GRASP: 40, GripperCommand.MOVE: 16}
    for count in range(PACKETS):
        command = peer.rng.choice(list(GripperCommand))
        size = sizes.get(command, 0)
        payload = peer.rng.choice([*ODD, 0.02, 0.08, 30.0], 5).tobytes()[:size]
        request = wire.GRIPPER_HEADER.pack(command, count, wire.GRIPPER_HEADER.size + size) + payload
        if count % 50 == 0 or not peer.send(peer.mutated(request)):
            peer.dial(wire.GRIPPER_PORT)
            hello = wire.CONNECT_REQUEST.pack(wire.GRIPPER_VERSION, peer.udp.getsockname()[1])
            peer.send(wire.GRIPPER_HEADER.pack(GripperCommand.CONNECT, 0, wire.GRIPPER_HEADER.size + 4) + hello)
            peer.run(20)
        peer.run(int(peer.rng.integers(0, 20)))
    peer.dial(wire.GRIPPER_PORT)
    hello = wire.CONNECT_REQUEST.pack(wire.GRIPPER_VERSION, peer.udp.getsockname()[1])
    peer.send(wire.GRIPPER_HEADER.pack(GripperCommand.CONNECT, 0, wire.GRIPPER_HEADER.size + 4) + hello)
    answer, state = peer.run(30)
    assert answer[-4:] == wire.GRIPPER_CONNECT_REPLY.pack(0, wire.GRIPPER_VERSION)
    assert len(state) == wire.GRIPPER_STATE.size
    peer.send(wire.GRIPPER_HEADER.pack(GripperCommand.MOVE, 9, wire.GRIPPER_HEADER.size + 16))
    peer.send(wire.GRIPPER_MOVE_REQUEST.pack(0.03, 0.1))
    assert peer.run(2000)[0][-2:] == wire.GRIPPER_REPLY.pack(wire.GripperStatus.SUCCESS)
    assert peer.server.world.fingers.width_m == pytest.approx(0.03, abs=2e-3)
    peer.check()
