"""Two robots in one world: real clients move both in the same milliseconds, a lost one does not hold up the other."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from d2ppo_core.errors import WorldError
from sim.fci.cell import RobotCell
from sim.tasks import task_named
from sim.world.world import World

SERVER = Path(__file__).with_name("cell_server.py")
CLIENT = """
import json, sys, franky
robot = franky.Robot(sys.argv[1], realtime_config=franky.RealtimeConfig.Ignore)
robot.recover_from_errors()
robot.relative_dynamics_factor = float(sys.argv[3])
q = list(robot.state.q)
print("connected", flush=True)
sys.stdin.readline()
target = [q[0] + float(sys.argv[2]), *q[1:]]
began = robot.state.time.to_msec()
print("moving", flush=True)
robot.move(franky.JointMotion(target))
state = robot.state
print(json.dumps({"began": began, "ended": state.time.to_msec(), "q": list(state.q), "target": target}), flush=True)
"""


class Client:
    """A franky process that turns the first joint of one robot when told to."""

    def __init__(self, address: str, turn_rad: float, dynamics: float = 0.3) -> None:
        command = [sys.executable, "-c", CLIENT, address, str(turn_rad), str(dynamics)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None and self.process.stdout.readline() == "connected\n"

    def begin(self) -> None:
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "moving\n"

    def result(self) -> dict[str, list[float]]:
        output, _ = self.process.communicate(timeout=60.0)
        assert self.process.returncode == 0
        return json.loads(output.splitlines()[-1])


@pytest.fixture(scope="module")
def addresses(module_addresses: tuple[str, str]) -> Iterator[tuple[str, str]]:
    command = [sys.executable, str(SERVER), *module_addresses]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdout.readline() == "ready\n"
    yield module_addresses
    server.stdin.close()
    assert server.wait(timeout=60.0) == 0


@pytest.fixture
def connect(addresses: tuple[str, str]) -> Iterator[Callable[..., Client]]:
    pytest.importorskip("franky", reason="needs franky-control (extra franka)")
    clients: list[Client] = []

    def connect(arm: int, turn_rad: float, dynamics: float = 0.3) -> Client:
        clients.append(Client(addresses[arm], turn_rad, dynamics))
        return clients[-1]

    yield connect
    for client in clients:
        client.process.kill()
        client.process.communicate()


@pytest.mark.slow
def test_both_robots_move_at_the_same_time(connect: Callable[..., Client]):
    clients = connect(0, 0.2), connect(1, -0.2)
    for client in clients:
        client.begin()
    left, right = (client.result() for client in clients)
    for result in (left, right):
        assert result["q"] == pytest.approx(result["target"], abs=5e-3)  # rad
    overlap = min(left["ended"], right["ended"]) - max(left["began"], right["began"])
    assert overlap > 0.5 * (left["ended"] - left["began"]), "they took turns"


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL], ids=["frozen", "dead"])
def test_a_lost_client_does_not_hold_up_the_other(connect: Callable[..., Client], how: signal.Signals):
    lost, other = connect(0, 1.5, 0.02), connect(1, 0.1)
    lost.begin()
    time.sleep(1.0)  # its motion takes many seconds
    lost.process.send_signal(how)
    began = time.monotonic()
    other.begin()
    result = other.result()
    print(f"\n  {how.name}: the other moved {result['ended'] - result['began']} ms in {time.monotonic() - began:.1f} s")
    assert result["q"] == pytest.approx(result["target"], abs=5e-3)  # rad
    lost.process.send_signal(signal.SIGCONT)
    lost.process.communicate(timeout=60.0)
    assert lost.process.returncode != 0, "its own robot did not wait for it"


def test_of_two_hands_the_one_at_the_address_is_aborted(monkeypatch: pytest.MonkeyPatch, robot_address: str):
    cell = RobotCell(World(task_named("lift")), (robot_address,))
    aborted: list[int] = []
    monkeypatch.setattr(cell.robots[0], "abort_hand", aborted.append)
    cell.abort_hand("", 1)
    cell.abort_hand(robot_address, 2)
    cell.abort_hand("127.0.0.1", 3)
    cell.close()
    assert aborted == [1, 2]


def test_as_many_addresses_are_wanted_as_there_are_arms():
    with pytest.raises(WorldError, match=r"'lift' wants an address per arm \(arm\), got 127.0.0.3, 127.0.0.4"):
        RobotCell(World(task_named("lift")), ("127.0.0.3", "127.0.0.4"))


def test_a_taken_port_leaves_none_of_the_others_open(addresses: tuple[str, str], robot_address: str):
    world = World(task_named("transport"))
    with pytest.raises(WorldError, match=f"on {addresses[1]} is in use"):
        RobotCell(world, (robot_address, addresses[1]))
    RobotCell(World(task_named("lift")), (robot_address,)).close()
