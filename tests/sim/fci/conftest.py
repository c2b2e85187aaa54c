"""A served robot in a process of its own: a client in this process may hold Python's lock while it waits."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest

from sim.snapshots import SnapshotSubscriber
from sim.tasks import task_named
from sim.world import World

HOME_Q_RAD = np.array(task_named("lift").home_q_rad)


@dataclass
class ServedRobot:
    address: str
    process: subprocess.Popen[str]
    channel: SnapshotSubscriber

    def world(self) -> World:
        """A copy of the served world as it is now."""
        snapshot = self.channel.newest(timeout_s=2.0)
        assert snapshot is not None, "the served world sends no snapshots"
        copy = World(task_named("lift"))
        copy.set_positions(snapshot.qpos)
        return copy


def start_robot(address: str, *options: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "sim.fci", "--address", address, *options], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and "1337" in process.stdout.readline()
    return process


@pytest.fixture
def start() -> Callable[..., subprocess.Popen[str]]:
    """Starts a served robot with options; the test ends it."""
    return start_robot


@pytest.fixture
def robot(robot_address: str) -> Iterator[ServedRobot]:
    channel = SnapshotSubscriber(robot_address)
    process = start_robot(robot_address)
    yield ServedRobot(robot_address, process, channel)
    process.terminate()
    assert process.wait(timeout=5.0) == 0
    channel.close()
