"""Limits of franky's motions: each robot through each build, the installed one live, swapped tables stood in for."""

import subprocess
import sys
import time
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest

from d2ppo_core.drivers.franka import FrankaArm, FrankaConfig
from d2ppo_core.drivers.franka_config import set_limits
from d2ppo_core.errors import RobotUnreachableError
from d2ppo_core.runtime.safety.robots import FR3, PANDA, Robot

VECTORS = {"joint_velocity": "dq_rad_s", "joint_acceleration": "ddq_rad_s2", "joint_jerk": "dddq_rad_s3"}
ORDERS = {"velocity": "speed", "acceleration": "acceleration", "jerk": "jerk"}


def true_limits(robot: Robot) -> dict[str, np.ndarray | float]:
    """Every limit of a robot by the name that franky has for it."""
    limits: dict[str, np.ndarray | float] = {name: getattr(robot, field) for name, field in VECTORS.items()}
    for index, (order, field) in enumerate(ORDERS.items()):
        limits[f"translation_{order}"], limits[f"rotation_{order}"] = getattr(robot, field)
        limits[f"elbow_{order}"] = robot.elbow[index]
    return limits


class Limit:
    """Stands in for franky's DynamicsLimit: what is above the maximum is refused, as 2.0.0 does it."""

    def __init__(self, greatest: np.ndarray | float) -> None:
        self.max = self.value = greatest

    def set(self, value: np.ndarray | float) -> None:
        if (np.asarray(value) > np.asarray(self.max)).any():
            raise RuntimeError(f"limit ({value}) cannot be greater than the maximum value ({self.max})")
        self.value = value

    def get(self) -> np.ndarray | float:
        return self.value


def client_with(tables_of: Robot) -> SimpleNamespace:
    """A client whose maxima are those of a robot, whichever robot is connected."""
    return SimpleNamespace(**{f"{name}_limit": Limit(limit) for name, limit in true_limits(tables_of).items()})


@pytest.fixture(scope="module")
def address(module_address: str) -> Iterator[str]:
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
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    yield module_address
    server.terminate()
    server.wait(10)


def assert_as_the_robot_where_franky_allows(client: object, robot: Robot) -> None:
    for name, wanted in true_limits(robot).items():
        limit = getattr(client, f"{name}_limit")
        np.testing.assert_allclose(limit.get(), np.minimum(wanted, limit.max), rtol=1e-12, err_msg=name)
        assert (np.asarray(limit.get()) <= np.asarray(wanted)).all(), f"{name}: wider than the robot's own"


@pytest.mark.parametrize("tables_of", [PANDA, FR3], ids=lambda robot: f"tables of the {robot.name}")
@pytest.mark.parametrize("robot", [PANDA, FR3], ids=lambda robot: robot.name)
def test_a_build_with_either_robots_tables_gets_the_true_limits_or_the_greatest_it_takes(robot, tables_of):
    client = client_with(tables_of)
    set_limits(client, robot)
    assert_as_the_robot_where_franky_allows(client, robot)


@pytest.mark.parametrize("robot", [PANDA, FR3], ids=lambda robot: robot.name)
def test_both_robots_connect_through_the_installed_build(address: str, robot: Robot):
    arm = FrankaArm(FrankaConfig(address=address, robot=robot.name))
    deadline_s = time.monotonic() + 30.0
    while True:
        try:
            arm.connect()
            break
        except RobotUnreachableError:
            assert time.monotonic() < deadline_s
            time.sleep(0.1)
    try:
        assert_as_the_robot_where_franky_allows(arm._robot, robot)
    finally:
        arm.close()
