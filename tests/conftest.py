"""What every test gets: a graph and loopback addresses of its own, one thread, and skips that say why."""

import importlib.util
import itertools
import os
import socket
from collections.abc import Callable, Iterator

import pytest

os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MUJOCO_GL", "egl")

FIRST_DOMAIN_ID, LAST_DOMAIN_ID = 60, 100
FIRST_HOST, LAST_HOST = 20, 250
ROBOT_PORTS = (1337, 1338)
_handed_out = itertools.count()


def worker_number() -> int:
    """Return the number of this test process: of pytest-xdist if it is in use, else from the process id."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    return int(worker.removeprefix("gw")) if worker.startswith("gw") else os.getpid()


def has_launch_ros() -> bool:
    """Return whether a full ROS 2 install is there; this repository's launch/ folder does not count."""
    return importlib.util.find_spec("launch_ros") is not None


REASONS: dict[str, tuple[Callable[[], bool], str]] = {
    "launch_ros": (has_launch_ros, "needs launch and launch_ros of a full ROS 2 install, which the wheels don't have"),
    "gpu": (lambda: os.path.exists("/dev/nvidia0"), "needs an NVIDIA GPU (/dev/nvidia0)"),
    "hardware": (lambda: "D2PPO_HARDWARE" in os.environ, "needs a robot or a camera; set D2PPO_HARDWARE=1 to run it"),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run; -ra prints the reasons at the end."""
    for item in items:
        for marker, (there, reason) in REASONS.items():
            if item.get_closest_marker(marker) is not None and not there():
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def ros_domain_id() -> Iterator[int]:
    """ROS_DOMAIN_ID of this test process; set in the environment too, so that rclpy.init() uses it."""
    domain_id = FIRST_DOMAIN_ID + worker_number() % (LAST_DOMAIN_ID - FIRST_DOMAIN_ID + 1)
    before = os.environ.get("ROS_DOMAIN_ID")
    os.environ["ROS_DOMAIN_ID"] = str(domain_id)
    yield domain_id
    if before is None:
        del os.environ["ROS_DOMAIN_ID"]
    else:
        os.environ["ROS_DOMAIN_ID"] = before


@pytest.fixture
def robot_address() -> str:
    """A loopback address on which the robot's ports are free, for one simulated robot."""
    return free_address()


@pytest.fixture(scope="module")
def module_address() -> str:
    """The same for a robot that serves all tests of a module."""
    return free_address()


def free_address() -> str:
    """Return a loopback address on which nobody listens, another one at every call."""
    for _ in range(LAST_HOST - FIRST_HOST):
        host = FIRST_HOST + (worker_number() + next(_handed_out)) % (LAST_HOST - FIRST_HOST)
        address = f"127.0.0.{host}"
        if all(is_free(address, port) for port in ROBOT_PORTS):
            return address
    raise RuntimeError("no loopback address with free robot ports is left")


def is_free(address: str, port: int) -> bool:
    """Return whether a server could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True
