"""A served robot in a process of its own: a client in this process may hold Python's lock while it waits."""

import contextlib
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sim.tasks import task_named
from sim.world.snapshots import SnapshotSubscriber
from sim.world.world import World

CLIENTS = Path(__file__).parent / "clients"
CLIENT_MODULES = {"panda_client": "panda_py", "panda_py_client": "panda_py", "pylibfranka_client": "pylibfranka"}
CLIENT_TIMEOUT_S = 240.0
HOME_Q_RAD = np.array(task_named("lift").home_q_rad)


@dataclass
class ServedRobot:
    address: str
    process: subprocess.Popen[str]
    channel: SnapshotSubscriber

    def inject(self, fault: str) -> str:
        """Start a fault; its answer."""
        return inject(self.process, fault)

    def world(self) -> World:
        """A copy of the served world as it is now."""
        snapshot = self.channel.newest(timeout_s=2.0)
        assert snapshot is not None, "the served world sends no snapshots"
        copy = World(task_named("lift"), robot="fr3")
        copy.set_positions(snapshot.qpos)
        return copy


def inject(server: subprocess.Popen[str], fault: str) -> str:
    """Start a fault, as a line of `d2ppo fci-server --faults`; its answer."""
    server.stdin.write(f"{fault}\n")
    server.stdin.flush()
    return server.stdout.readline()


def start_robot(address: str, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "d2ppo_core.cli.main", "fci-server", "--address", address, *options]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and "1337" in process.stdout.readline()
    return process


class ClientBench:
    """A served robot, faults for it, and programs that drive it."""

    def __init__(self, address: str, script: str, *options: str) -> None:
        self.address, self._script = address, script
        self._server = start_robot(address, "--faults", *options)

    def run(self, case: str) -> dict[str, Any]:
        """Let the client do one case; what it reports."""
        with self.start(case) as client:
            output, _ = client.communicate(timeout=CLIENT_TIMEOUT_S)
        assert client.returncode == 0, f"{self._script} {case} failed; its traceback is above"
        return json.loads(output.splitlines()[-1])

    def start(self, case: str) -> subprocess.Popen[str]:
        """The client as a process with pipes."""
        command = [sys.executable, str(CLIENTS / f"{self._script}.py"), self.address, case]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def inject(self, fault: str) -> str:
        """Start a fault; its answer."""
        return inject(self._server, fault)

    def ended_by(self, fault: str, case: str = "hold") -> str:
        """What the client is told when this fault ends its motion."""
        with self.start(case) as client:
            assert client.stdout.readline() == "holding\n"
            self.inject(fault)
            output, _ = client.communicate(timeout=CLIENT_TIMEOUT_S)
        self.inject("clear")
        return json.loads(output.splitlines()[-1])["error"]

    def close(self) -> None:
        self._server.terminate()
        assert self._server.wait(timeout=60.0) == 0


@pytest.fixture(scope="session")
def client_bench() -> Callable[..., contextlib.AbstractContextManager[ClientBench]]:
    """Makes a bench for a client script; skips where the client is not installed."""

    def make(address: str, script: str, *options: str) -> contextlib.AbstractContextManager[ClientBench]:
        module = CLIENT_MODULES[script]
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"needs {module} (extra dev)")
        return contextlib.closing(ClientBench(address, script, *options))

    return make


@pytest.fixture(scope="session")
def client_script() -> Path:
    """A franky program, for any server of its version."""
    return CLIENTS / "franky_client.py"


@pytest.fixture
def start() -> Callable[..., subprocess.Popen[str]]:
    """Starts a served robot with options; the test ends it."""
    return start_robot


@pytest.fixture
def robot(robot_address: str) -> Iterator[ServedRobot]:
    channel = SnapshotSubscriber(robot_address)
    process = start_robot(robot_address, "--faults")
    yield ServedRobot(robot_address, process, channel)
    process.terminate()
    assert process.wait(timeout=60.0) == 0
    channel.close()
