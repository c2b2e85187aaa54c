"""`d2ppo fci-server` as a command: several robots at once, and one line for what is wrong."""

import ipaddress
import signal
import socket
import subprocess
import sys
import time

import pytest

from sim.fci.wire import ROBOT_PORT

COMMAND = [sys.executable, "-m", "d2ppo_core.cli.main", "fci-server"]


def served(address: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((address, ROBOT_PORT)) == 0


def test_robots_come_up_on_successive_addresses_and_end_together(robot_address):
    addresses = [str(ipaddress.IPv4Address(robot_address) + i) for i in range(2)]
    options = ["--address", robot_address, "--robots", "2", "--backend", "kinematic", "--robot-version", "10"]
    with subprocess.Popen([*COMMAND, *options], stdout=subprocess.PIPE, text=True) as process:
        lines = {process.stdout.readline() for _ in addresses}
        assert all(any(f"on {address}:1337" in line for line in lines) for address in addresses)
        assert all(served(address) for address in addresses)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60.0) == 0
    deadline = time.monotonic() + 30.0
    while any(served(address) for address in addresses):
        assert time.monotonic() < deadline


def test_every_arm_of_a_world_is_a_robot_on_an_address_of_its_own(robot_address):
    addresses = [str(ipaddress.IPv4Address(robot_address) + i) for i in range(2)]
    options = ["--address", robot_address, "--task", "transport", "--no-real-time"]
    with subprocess.Popen([*COMMAND, *options], stdout=subprocess.PIPE, text=True) as process:
        for address in addresses:
            assert f"on {address}:1337, gripper on {address}:1338" in process.stdout.readline()
        assert all(served(address) for address in addresses)
        process.terminate()
        assert process.wait(timeout=60.0) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--robots", "0"], "--robots takes 1 or more, got 0"),
        (["--robots", "2", "--faults"], "--faults goes with one robot"),
        (["--robots", "2", "--address", "localhost"], "count on from a numeric --address, got 'localhost'"),
        (["--robot-version", "7", "--backend", "kinematic"], r"must be one of [5, 10], got 7"),
        (["--robots", "2", "--task", "transport"], "--robots goes with a task of one arm, transport has 2"),
        (["--task", "transport", "--faults"], "--faults goes with a task of one arm, transport has 2"),
        (["--task", "fold"], "unknown task 'fold'"),
    ],
)
def test_what_cannot_be_served_is_one_line_and_exit_code_2(options, message):
    result = subprocess.run([*COMMAND, *options], capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert message in result.stderr and len(result.stderr.splitlines()) == 1


def test_faults_are_read_from_standard_input(robot_address):
    options = ["--address", robot_address, "--backend", "kinematic", "--faults"]
    with subprocess.Popen(
        [*COMMAND, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert "1337" in process.stdout.readline()

        def answer(line, stream):
            process.stdin.write(f"{line}\n")
            process.stdin.flush()
            return stream.readline()

        assert answer("user_stop 0.2", process.stdout) == "the operator's stop button is pressed, for 0.2 s\n"
        assert answer("late_commands 0 7", process.stdout) == "commands arrive later (ms: 7), until 'clear'\n"
        assert "no fault 'rain'" in answer("rain", process.stderr)
        assert "could not convert" in answer("user_stop soon", process.stderr)
        process.terminate()
        assert process.wait(timeout=60.0) == 0
