"""Everything that a robot refuses or stops itself for, provoked by commands on the wire."""

import contextlib
import socket
import struct
import threading

import numpy as np
import pytest

from sim.fci import wire
from sim.fci.kinematic_arm import KinematicArm
from sim.fci.robot_server import RobotServer
from sim.fci.wire import PROTOCOLS, Controller, Error, Generator, Reply, RobotMode
from sim.tasks import task_named
from sim.world.world import World

READY = np.array([0.0, -0.785398, 0.0, -2.356194, 0.0, 1.570796, 0.785398])
STRETCHED = np.array([0.0, 1.2, 0.0, -0.3, 0.0, 1.6, 0.785398])
SINGULAR = np.array([0.0, 0.0, np.pi / 2, -1.5, 0.0, 1.57, 0.0])
FOLDING = np.array([0.0, -1.7, 0.0, -2.6, 0.0, 0.6, 0.785])
WRIST_STRAIGHT = np.array([0.0, -0.785398, 0.0, -2.356194, 0.0, 0.1, 0.785398])
WIDE = (10.0, 3.12, 6.28)


class Client:
    """The least that a client does: answers every state of a motion with a command."""

    def __init__(self, address, version, arm=None):
        self.protocol = PROTOCOLS[version]
        self.server = RobotServer(arm or KinematicArm(), address, version=version, real_time=False)
        self._stop, self._requests = threading.Event(), 0
        self._thread = threading.Thread(target=self.server.serve, args=(self._stop,))
        self._thread.start()
        self._tcp = socket.create_connection((address, wire.ROBOT_PORT), timeout=5.0)
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind(("127.0.0.1", 0))
        self._udp.settimeout(5.0)
        answer = self.request("Connect", wire.CONNECT_REQUEST.pack(version, self._udp.getsockname()[1]))
        assert answer == wire.CONNECT_REPLY.pack(0, version)
        self._bytes = bytearray(self.protocol.state.itemsize)
        self.state = wire.field_views(self._bytes, self.protocol.state)
        self._command_bytes = bytearray(self.protocol.command.itemsize)
        self._command = wire.field_views(self._command_bytes, self.protocol.command)

    def close(self):
        self._stop.set()
        self._thread.join(10.0)
        self._tcp.close()
        self._udp.close()
        self.server.close()

    def place(self, q_rad):
        self.server.call(lambda: self.server.place_arm(np.asarray(q_rad), 0.04))

    def send(self, name, payload=b""):
        self._requests += 1
        number = self.protocol.requests.index(name)
        self._tcp.sendall(wire.HEADER.pack(number, self._requests, wire.HEADER.size + len(payload)) + payload)

    def answer(self):
        _, _, size = wire.HEADER.unpack(self._tcp.recv(wire.HEADER.size, socket.MSG_WAITALL))
        return self._tcp.recv(size - wire.HEADER.size, socket.MSG_WAITALL)

    def request(self, name, payload=b""):
        self.send(name, payload)
        return self.answer()

    def read(self):
        """The next state; what it holds is in `state`."""
        self._udp.recv_into(self._bytes)
        return int(self.state["message_id"][0])

    def read_newest(self):
        """The newest state, after those that came while nobody read."""
        self._udp.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self._udp.recv_into(self._bytes)
        self._udp.settimeout(5.0)
        return self.read()

    def move(self, generator, controller=Controller.JOINT_IMPEDANCE):
        """Ask for a motion; the name of the status that the robot answers."""
        payload = wire.MOVE_REQUEST.pack(controller, generator - 1, *WIDE, *WIDE)
        if self.protocol.version == 10:
            payload += wire.MOVE_OPTIONS.pack(False, *[0.0] * 7)
        return self.status(self.request("Move", payload))

    def status(self, answer):
        """Name of the status of a motion."""
        return {number: name for name, number in self.protocol.move_status.items()}[answer[0]]

    def torque(self):
        """Begin torque control, as this version asks for it."""
        generator = Generator.NONE if self.protocol.version == 10 else Generator.JOINT_VELOCITY
        assert self.move(generator, Controller.EXTERNAL) == "started"

    def write(self, **values):
        """Answer the state read last: hold still but for these fields."""
        state, command = self.state, self._command
        command["message_id"][0] = state["message_id"][0]
        for name, value in {"q_c": state["q_d"], "O_T_EE_c": state["O_T_EE_c"], **values}.items():
            command[name][:] = value
        self._udp.sendto(self._command_bytes, self.server._connection.udp.getsockname())

    def drive(self, command_at, steps=3000):
        """Follow `command_at(seconds)` until the robot stops itself; its only error."""
        self.read_newest()
        begun = int(self.state["message_id"][0])
        for _ in range(steps):
            if self.state["robot_mode"][0] != RobotMode.MOVE:
                break
            self.write(**command_at(1e-3 * (int(self.state["message_id"][0]) - begun)))
            self.read()
        return self.ended()

    def ended(self):
        """The error that ended the motion, after checking that the robot says so in every way it has."""
        assert self.state["robot_mode"][0] == RobotMode.REFLEX
        assert self.state["motion_generator_mode"][0] == Generator.IDLE
        assert self.status(self.answer()) == "reflex"
        (error,) = np.flatnonzero(self.state["errors"])
        assert np.flatnonzero(self.state["reflex_reason"]).tolist() == [error]
        return Error(error)


@pytest.fixture
def connect(robot_address):
    """Makes a client of its own server."""
    with contextlib.ExitStack() as stack:

        def make(version, q_rad=READY, arm=None):
            client = Client(robot_address, version, arm)
            stack.callback(client.close)
            if arm is None:
                client.place(q_rad)
            return client

        yield make


def ramp(value, seconds=0.5):
    """Rises smoothly from 0 at t = 0 to `value`."""
    value = np.asarray(value, float)
    return lambda t: value * 0.5 * (1.0 - np.cos(np.pi * min(t / seconds, 1.0)))


def joints(velocity, seconds=0.5):
    shape = ramp(velocity, seconds)
    return lambda t: {"dq_c": shape(t)}


def twist(velocity, seconds=0.5):
    shape = ramp(velocity, seconds)
    return lambda t: {"O_dP_EE_c": shape(t)}


def near_end(joint, margin):
    """Ready, but for one joint this far from its upper end."""
    q = READY.copy()
    q[joint] = {0: 2.8973, 3: -0.0698, 6: 2.8973}[joint] - margin
    return q


def unit(joint, value=1.0):
    return value * np.eye(7)[joint]


@pytest.mark.parametrize(
    ("version", "q", "command_at", "error"),
    [
        (5, near_end(0, 0.02), joints(unit(0, 0.3)), Error.JOINT_MOTION_GENERATOR_POSITION_LIMITS_VIOLATION),
        (10, near_end(0, 0.02), joints(unit(0, 0.3)), Error.JOINT_MOTION_GENERATOR_VELOCITY_LIMITS_VIOLATION),
        (5, READY, lambda t: {"dq_c": np.full(7, np.nan)}, Error.JOINT_MOTION_GENERATOR_VELOCITY_LIMITS_VIOLATION),
        (5, READY, lambda t: {"dq_c": unit(2, 2.2)}, Error.JOINT_MOTION_GENERATOR_VELOCITY_LIMITS_VIOLATION),
        (5, READY, lambda t: {"dq_c": unit(2, 0.011)}, Error.JOINT_MOTION_GENERATOR_VELOCITY_DISCONTINUITY),
        (5, READY, lambda t: {"dq_c": unit(2, 0.006)}, Error.JOINT_MOTION_GENERATOR_ACCELERATION_DISCONTINUITY),
        (5, FOLDING, joints(unit(3, -0.4)), Error.SELF_COLLISION_AVOIDANCE_VIOLATION),
        (10, FOLDING, joints(unit(3, -0.4)), Error.SELF_COLLISION_AVOIDANCE_VIOLATION),
    ],
)
def test_joint_velocities_that_a_robot_stops_for(connect, version, q, command_at, error):
    client = connect(version, q)
    assert client.move(Generator.JOINT_VELOCITY) == "started"
    assert client.drive(command_at) is error


@pytest.mark.parametrize("version", [5, 10])
@pytest.mark.parametrize(
    ("step_rad", "error"),
    [
        (0.02, Error.JOINT_POSITION_MOTION_GENERATOR_START_POSE_INVALID),
        (0.006, Error.JOINT_MOTION_GENERATOR_VELOCITY_LIMITS_VIOLATION),
        (2e-4, Error.JOINT_MOTION_GENERATOR_VELOCITY_DISCONTINUITY),
    ],
)
def test_joint_positions_that_a_robot_stops_for(connect, version, step_rad, error):
    client = connect(version)
    assert client.move(Generator.JOINT_POSITION) == "started"
    assert client.drive(lambda t: {"q_c": READY + step_rad}) is error


@pytest.mark.parametrize(
    ("q", "command_at", "error"),
    [
        (READY, lambda t: {"O_dP_EE_c": np.eye(6)[1] * 1.71}, "VELOCITY_LIMITS_VIOLATION"),
        (READY, lambda t: {"O_dP_EE_c": np.eye(6)[4] * 2.51}, "VELOCITY_LIMITS_VIOLATION"),
        (READY, lambda t: {"O_dP_EE_c": np.eye(6)[1] * 0.0132}, "VELOCITY_DISCONTINUITY"),
        (READY, lambda t: {"O_dP_EE_c": np.eye(6)[1] * 0.0067}, "ACCELERATION_DISCONTINUITY"),
        (near_end(6, 0.02), twist([0, 0, 0, 0, 0, -0.2]), "JOINT_POSITION_LIMITS_VIOLATION"),
        (WRIST_STRAIGHT, twist([0, 0, 0, 0, 0, 2.4]), "JOINT_VELOCITY_LIMITS_VIOLATION"),
        (near_end(3, 0.05), lambda t: {"O_dP_EE_c": np.eye(6)[0] * 0.006}, "JOINT_VELOCITY_DISCONTINUITY"),
        (near_end(3, 0.05), lambda t: {"O_dP_EE_c": np.eye(6)[0] * 0.0008}, "JOINT_ACCELERATION_DISCONTINUITY"),
    ],
)
def test_twists_that_a_robot_stops_for(connect, q, command_at, error):
    client = connect(5, q)
    assert client.move(Generator.CARTESIAN_VELOCITY) == "started"
    assert client.drive(command_at) is Error[f"CARTESIAN_MOTION_GENERATOR_{error}"]


def moved(pose, metres):
    return pose + np.eye(16)[12] * metres


@pytest.mark.parametrize("version", [5, 10])
@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda s: {"O_T_EE_c": moved(s["O_T_EE_c"], 0.01)}, "CARTESIAN_POSITION_MOTION_GENERATOR_START_POSE_INVALID"),
        (lambda s: {"O_T_EE_c": 1.01 * s["O_T_EE_c"]}, "CARTESIAN_POSITION_MOTION_GENERATOR_INVALID_FRAME_FLAG"),
        (lambda s: {"valid_elbow": True, "elbow_c": [0.1, -1]}, "CARTESIAN_MOTION_GENERATOR_START_ELBOW_INVALID"),
        (lambda s: {"valid_elbow": True, "elbow_c": [0, 1]}, "CARTESIAN_MOTION_GENERATOR_ELBOW_SIGN_INCONSISTENT"),
        (lambda s: {"valid_elbow": True, "elbow_c": [4e-3, -1]}, "CARTESIAN_MOTION_GENERATOR_ELBOW_LIMIT_VIOLATION"),
    ],
)
def test_poses_and_elbows_that_a_robot_stops_for(connect, version, change, error):
    client = connect(version)
    assert client.move(Generator.CARTESIAN_POSITION) == "started"
    assert client.drive(lambda t: change(client.state)) is Error[error]


@pytest.mark.parametrize("version", [5, 10])
@pytest.mark.parametrize(
    ("q", "torque", "error"),
    [
        (READY, lambda t: unit(6, 2.0), Error.CONTROLLER_TORQUE_DISCONTINUITY),
        (READY, lambda t: np.full(7, np.nan), Error.CONTROLLER_TORQUE_DISCONTINUITY),
        (READY, lambda t: unit(6, 900.0 * t), Error.TAU_J_RANGE_VIOLATION),
        (READY, lambda t: unit(6, min(900.0 * t, 8.0)), Error.JOINT_VELOCITY_VIOLATION),
        (near_end(6, 0.05), lambda t: unit(6, min(900.0 * t, 2.0)), Error.JOINT_POSITION_LIMITS_VIOLATION),
    ],
)
def test_torques_that_a_robot_stops_for(connect, version, q, torque, error):
    client = connect(version, q)
    client.torque()
    assert client.drive(lambda t: {"tau_J_d": torque(t)}) is error


def test_a_hand_that_torques_drive_too_fast_is_stopped(connect):
    client = connect(5, STRETCHED)
    client.torque()
    assert client.drive(lambda t: {"tau_J_d": unit(0, min(900.0 * t, 20.0))}) is Error.CARTESIAN_VELOCITY_VIOLATION


@pytest.mark.parametrize(
    ("torque_nm", "force", "error"), [(8.0, 500.0, Error.JOINT_REFLEX), (80.0, 15.0, Error.CARTESIAN_REFLEX)]
)
def test_a_press_on_the_table_is_a_contact_first_and_then_a_collision(connect, torque_nm, force, error):
    client = connect(10, arm=World(task_named("lift")))
    q = READY + [0, 1.25, 0, -0.2, 0, 0.35, 0]
    client.place(q)
    torques, forces = [*[0.2 * torque_nm] * 7, *[torque_nm] * 7] * 2, [*[0.2 * force] * 6, *[force] * 6] * 2
    assert client.request("SetCollisionBehavior", wire.COLLISION_REQUEST.pack(*torques, *forces))[0] == Reply.SUCCESS
    client.torque()
    felt = []

    def press(t):
        name = "joint_contact" if error is Error.JOINT_REFLEX else "cartesian_contact"
        felt.append(bool(client.state[name].any()))
        return {"tau_J_d": unit(1, 8.0 * t) - [60.0, 60.0, 60.0, 60.0, 6.0, 6.0, 6.0] * client.state["dq"]}

    assert client.drive(press, 5000) is error
    assert any(felt) and not felt[0]
    flags = client.state["joint_collision" if error is Error.JOINT_REFLEX else "cartesian_collision"]
    assert flags.any()


@pytest.mark.parametrize("version", [5, 10])
def test_the_twentieth_lost_command_is_a_violation(connect, version):
    client = connect(version)
    client.server._lockstep._patience_s = 0.1
    assert client.move(Generator.JOINT_VELOCITY) == "started"
    client.read_newest()
    for _ in range(30):
        client.write()
        answered = client.read() - 1
    while not client.state["errors"].any():
        last = client.read()
    assert client.ended() is Error.COMMUNICATION_CONSTRAINTS_VIOLATION
    assert last - answered == 21  # twenty states without an answer, and the one that says so


@pytest.mark.parametrize("version", [5, 10])
def test_moves_that_cannot_begin_are_refused_with_their_reason(connect, version):
    client = connect(version, SINGULAR)
    for generator in (Generator.CARTESIAN_POSITION, Generator.CARTESIAN_VELOCITY):
        assert client.move(generator) == "singular"
    client.place(READY)
    assert client.move(Generator.JOINT_VELOCITY) == "started"
    client.read_newest()
    client.write()
    assert client.move(Generator.JOINT_VELOCITY) == "not_possible"
    assert client.request("SetLoad", wire.LOAD_REQUEST.pack(1.0, *[0.0] * 12))[0] == Reply.NOT_POSSIBLE
    client.server.inject_fault("reflex")
    assert client.status(client.answer()) == "reflex"
    assert client.move(Generator.JOINT_VELOCITY) == "not_possible"
    recovered = client.request("AutomaticErrorRecovery")[0]
    assert recovered == client.protocol.recovery_status["success"]
    assert client.move(Generator.JOINT_VELOCITY) == "started"


def test_a_request_that_no_version_knows_is_refused_and_the_connection_stays(connect):
    client = connect(10)
    client._tcp.sendall(struct.pack("<III", 99, 5, 12))
    assert client.answer() == bytes((Reply.NOT_POSSIBLE,))
    assert client.move(Generator.JOINT_VELOCITY) == "started"
