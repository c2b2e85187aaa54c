"""What a user is told when a client cannot connect, and what is worth another try; who answers is a socket's script."""

import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from d2ppo_core.drivers.connect_errors import not_connected
from d2ppo_core.drivers.franka import FrankaArm, FrankaConfig, FrankaGripper, GripperConfig
from d2ppo_core.drivers.server_version import GRIPPER_PORT, ROBOT_PORT, server_version
from d2ppo_core.errors import RobotError, RobotUnreachableError

AT_ONCE_S = 4.0
"""libfranka itself waits a minute for what is no robot."""


def version(number: int) -> bytes:
    """How a robot server refuses a client of another version."""
    return struct.pack("<III", 0, 0, 15) + struct.pack("<BH", 1, number)


class Script:
    """Answers every connection to both ports of an address with the same bytes."""

    def __init__(self, address: str, answer: bytes) -> None:
        self._listeners = []
        for port in (ROBOT_PORT, GRIPPER_PORT):
            listener = socket.socket()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address, port))
            listener.listen()
            self._listeners.append(listener)
            threading.Thread(target=self._serve, args=(listener, answer), daemon=True).start()

    def _serve(self, listener: socket.socket, answer: bytes) -> None:
        while True:
            try:
                with listener.accept()[0] as connection:
                    connection.recv(64)
                    connection.sendall(answer)
            except OSError:
                return

    def close(self) -> None:
        for listener in self._listeners:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()


@pytest.fixture
def answering(robot_address: str) -> Iterator[Callable[[bytes], str]]:
    """Makes the robot's address answer with some bytes."""
    scripts: list[Script] = []

    def start(answer: bytes) -> str:
        scripts.append(Script(robot_address, answer))
        return robot_address

    yield start
    for script in scripts:
        script.close()


def told_by(connect: Callable[[], None], expected: type[RobotError]) -> str:
    began_s = time.monotonic()
    with pytest.raises(RobotError) as raised:
        connect()
    assert type(raised.value) is expected, raised.value
    assert time.monotonic() - began_s < AT_ONCE_S and "\n" not in str(raised.value)
    return str(raised.value)


def arm_at(address: str) -> Callable[[], None]:
    return FrankaArm(FrankaConfig(address=address)).connect


def hand_at(address: str) -> Callable[[], None]:
    return FrankaGripper(GripperConfig(address=address)).connect


def test_where_nobody_listens_another_try_may_help(robot_address: str):
    text = told_by(arm_at(robot_address), RobotUnreachableError)
    assert text.startswith(f"no robot answers at {robot_address}:1337 (connection refused); check power, network")
    text = told_by(hand_at(robot_address), RobotUnreachableError)
    assert text.startswith(f"no gripper answers at {robot_address}:1338 (connection refused); check that the hand")


def test_who_hangs_up_may_be_starting(answering):
    address = answering(b"")
    for connect in (arm_at(address), hand_at(address)):
        assert "it closed the connection without an answer" in told_by(connect, RobotUnreachableError)


@pytest.mark.parametrize(("connect_to", "what"), [(arm_at, "robot"), (hand_at, "gripper")])
def test_what_is_no_robot_is_told_at_once_and_not_tried_again(answering, connect_to, what):
    text = told_by(connect_to(answering(b"HTTP/1.1 400 Bad Request\r\n\r\n")), RobotError)
    assert f"is no Franka {what} (it says 'HTTP/1.1 400')" in text and text.endswith("check robot_address")


def test_an_address_that_is_none_is_told_at_once():
    for connect in (arm_at("panda.invalid"), hand_at("panda.invalid")):
        assert "robot_address: there is no host 'panda.invalid'" in told_by(connect, RobotError)


def test_a_robot_of_another_version_is_told_with_the_command_that_cures_it(answering):
    text = told_by(arm_at(answering(version(5))), RobotError)
    assert "speaks server version 5 (a panda of system 4.2.1 or newer), the installed franky 10" in text
    assert "run: d2ppo doctor --fix-client panda, or set client: franka_rs in the cell file" in text


def test_arm_and_hand_of_both_versions_are_asked_for_theirs(module_address: str):
    for robot in (5, 10):
        command = [
            sys.executable,
            "-m",
            "d2ppo_core.cli.main",
            "fci-server",
            "--address",
            module_address,
            "--backend",
            "kinematic",
        ]
        with subprocess.Popen([*command, "--robot-version", str(robot)], stdout=subprocess.DEVNULL) as server:
            try:
                assert answer_of(module_address, ROBOT_PORT) == robot
                assert answer_of(module_address, GRIPPER_PORT) == 3
            finally:
                server.kill()


def answer_of(address: str, port: int) -> int:
    """The version, as soon as the server is up."""
    deadline_s = time.monotonic() + 30.0
    while True:
        try:
            return server_version(address, port)
        except RobotUnreachableError:
            assert time.monotonic() < deadline_s
            time.sleep(0.1)


def test_what_a_robot_refuses_after_it_answered_is_not_called_silence():
    class CommandException(Exception):
        pass

    error = not_connected("robot", "172.16.0.2", CommandException("set rejected:\n not possible in mode Reflex"))
    assert type(error) is RobotError
    expected = "was reached, but could not be set up: CommandException: set rejected: not possible in mode Reflex"
    assert str(error) == f"the robot at 172.16.0.2 {expected}"
