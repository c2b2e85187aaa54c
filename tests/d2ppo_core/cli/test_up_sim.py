"""``d2ppo up sim`` with the real nodes, the real robot client and the real world."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from d2ppo_core.doctor.finding import Status
from d2ppo_core.doctor.robot import check_ports_free, check_robot_answers, server_version
from d2ppo_core.stack.loader import load_stack
from d2ppo_core.stack.runner import Stack

START_S = 60.0
NODES = ("sim", "camera", "policy", "arm")


class LiveStack:
    """A running ``d2ppo up sim`` and what it logged."""

    def __init__(self, log: Path, address: str, domain_id: int) -> None:
        self.log, self.address = log, address
        command = [sys.executable, "-m", "d2ppo_core.cli.main", "up", "sim", "--log", str(log)]
        command += ["--set", f"robot_address={address}", "--domain-id", str(domain_id)]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)

    def pids(self) -> dict[str, int]:
        text = self.log.read_text() if self.log.exists() else ""
        return {name: int(pid) for name, pid in re.findall(r"\[stack\] started (\w+) \(pid (\d+)\)", text)}

    def wait_for(self, text: str) -> None:
        deadline_s = time.monotonic() + START_S
        while text not in (self.log.read_text() if self.log.exists() else ""):
            assert self.process.poll() is None, self.process.communicate()[1][-2000:]
            assert time.monotonic() < deadline_s, f"{text!r} is not in the log:\n{self.log.read_text()[-2000:]}"
            time.sleep(0.05)

    def end(self) -> tuple[int, str]:
        """Return exit code and last line."""
        _, errors = self.process.communicate(timeout=60.0)
        return self.process.returncode, errors.splitlines()[-1]

    def anything_left(self) -> bool:
        return any(Path(f"/proc/{pid}").exists() for pid in self.pids().values())


@pytest.fixture
def start(tmp_path: Path, robot_address: str, ros_domain_id: int) -> Iterator[Callable[[], LiveStack]]:
    stacks: list[LiveStack] = []

    def make() -> LiveStack:
        stacks.append(LiveStack(tmp_path / "stack.log", robot_address, ros_domain_id))
        return stacks[-1]

    yield make
    for stack in stacks:
        if stack.process.poll() is None:
            stack.process.send_signal(signal.SIGTERM)
            stack.process.communicate(timeout=60.0)


def test_the_arm_connects_to_the_world_and_ctrl_c_leaves_nothing_running(start: Callable[[], LiveStack]) -> None:
    stack = start()
    stack.wait_for("[arm] [INFO]")
    assert tuple(stack.pids()) == NODES
    stack.process.send_signal(signal.SIGINT)
    assert stack.end() == (0, "d2ppo: stack sim stopped")
    assert not stack.anything_left()
    assert check_ports_free(stack.address).status is Status.OK
    assert "Traceback" not in stack.log.read_text()


def test_the_doctor_reads_the_version_of_the_worlds_robot_server_and_does_not_disturb_it(
    robot_address: str, ros_domain_id: int
) -> None:
    sim = load_stack("sim", {"robot_address": robot_address})
    with Stack(replace(sim, nodes=sim.nodes[:1]), domain_id=ros_domain_id) as stack:
        deadline_s = time.monotonic() + START_S
        while check_robot_answers(robot_address).status is not Status.OK:
            assert time.monotonic() < deadline_s
            stack.wait(timeout_s=0.1)
        assert server_version(robot_address) == 10
        stack.wait(timeout_s=0.5)


@pytest.mark.parametrize("victim", ["policy", "sim"])
def test_a_node_that_is_killed_ends_the_stack_with_one_line_that_names_it(
    start: Callable[[], LiveStack], victim: str
) -> None:
    stack = start()
    stack.wait_for("[arm] [INFO]")
    os.kill(stack.pids()[victim], signal.SIGKILL)
    code, line = stack.end()
    assert code == 1
    assert line.startswith(f"d2ppo: stack sim stopped: {victim} was killed by SIGKILL")
    assert not stack.anything_left()


def test_an_occupied_port_ends_the_stack_with_the_line_of_the_world(
    start: Callable[[], LiveStack], robot_address: str
) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind((robot_address, 1337))
        other.listen()
        stack = start()
        code, line = stack.end()
    assert code == 1
    assert f"port 1337 on {robot_address} is in use" in line
    assert not stack.anything_left()
