import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from d2ppo_core.doctor import robot
from d2ppo_core.doctor.finding import Status
from d2ppo_core.doctor.robot import GRIPPER_PORT, ROBOT_PORT


@pytest.fixture
def occupied(robot_address: str) -> Iterator[socket.socket]:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((robot_address, GRIPPER_PORT))
        listener.listen()
        yield listener


def test_free_ports_are_fine(robot_address: str) -> None:
    assert robot.check_ports_free(robot_address).status is Status.OK


def test_an_occupied_port_is_named_with_what_to_do(robot_address: str, occupied: socket.socket) -> None:
    finding = robot.check_ports_free(robot_address)
    assert finding.status is Status.FAIL
    assert f"{robot_address}:{GRIPPER_PORT} is in use" in finding.text
    assert "choose another robot_address" in finding.text


def test_an_address_of_another_machine_cannot_be_listened_on() -> None:
    finding = robot.check_ports_free("203.0.113.7")
    assert finding.status is Status.FAIL
    assert "choose a loopback address" in finding.text


def test_a_robot_that_does_not_answer_is_one_line_with_what_to_check(robot_address: str) -> None:
    finding = robot.check_robot_answers(robot_address)
    assert finding.status is Status.FAIL
    assert f"no robot answers at {robot_address}:1337" in finding.text


def serve_version(address: str, version: int, requests: list[bytes]) -> threading.Thread:
    """Answer one Connect request the way a robot server of ``version`` refuses a foreign one."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, ROBOT_PORT))
    listener.listen()

    def answer() -> None:
        with listener, listener.accept()[0] as connection:
            requests.append(connection.recv(64))
            connection.sendall(struct.pack("<III", 0, 0, 15) + struct.pack("<BH", 1, version))

    thread = threading.Thread(target=answer)
    thread.start()
    return thread


def test_the_robot_is_asked_for_its_version_with_one_connect_request(robot_address: str) -> None:
    requests: list[bytes] = []
    thread = serve_version(robot_address, 10, requests)
    assert robot.server_version(robot_address) == 10
    thread.join(timeout=5.0)
    assert requests == [bytes.fromhex("00000000 00000000 10000000 0000 0000")]


def test_a_panda_with_the_wheel_for_an_fr3_is_driven_by_the_second_client_or_told_what_to_do(
    robot_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for there, status, text in (
        (True, Status.OK, "server version 5; franka_rs fits"),
        (False, Status.FAIL, "franky 10; run: d2ppo doctor --fix-client panda, or set client: franka_rs in the cell"),
    ):
        monkeypatch.setattr(robot, "franka_rs_installed", lambda there=there: there)
        thread = serve_version(robot_address, 5, [])
        finding = robot.check_robot_answers(robot_address)
        thread.join(timeout=5.0)
        assert finding.status is status and text in finding.text


def test_a_robot_of_a_version_that_no_installed_client_speaks_is_told_which_wheel(robot_address: str) -> None:
    thread = serve_version(robot_address, 7, [])
    finding = robot.check_robot_answers(robot_address)
    thread.join(timeout=5.0)
    assert finding.status is Status.FAIL and "a fr3 of system 5.5.0 or newer" in finding.text
    assert finding.text.endswith("run: d2ppo doctor --fix-client fr3 --server-version 7")


def test_a_robot_that_speaks_what_franky_speaks_is_fine(robot_address: str) -> None:
    thread = serve_version(robot_address, 10, [])
    finding = robot.check_robot_answers(robot_address)
    thread.join(timeout=5.0)
    assert finding.status is Status.OK and "franky fits" in finding.text


def test_the_installed_clients_are_recognised() -> None:
    finding = robot.check_client()
    assert finding.status is Status.OK and "robot-server version" in finding.text
