"""Which client drives a robot: the cell's, or the one that speaks what the robot does."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from d2ppo_core.drivers import clients
from d2ppo_core.drivers.clients import ChosenArm, fitting_client, franka_drivers
from d2ppo_core.drivers.franka import FrankaArm, FrankaConfig, FrankaGripper, GripperConfig
from d2ppo_core.drivers.franka_rs import FrankaRsArm
from d2ppo_core.drivers.franka_rs_hand import FrankaRsHand
from d2ppo_core.errors import RobotError, RobotUnreachableError
from d2ppo_core.runtime.control.protocols import RobotMode

PATIENCE_S = 30.0


@pytest.fixture
def serve() -> Iterator[Callable[[str, int], None]]:
    """Serves an ideal arm of a version at an address."""
    servers: list[subprocess.Popen] = []

    def start(address: str, version: int) -> None:
        command = [
            sys.executable,
            "-m",
            "d2ppo_core.cli.main",
            "fci-server",
            "--address",
            address,
            "--backend",
            "kinematic",
        ]
        servers.append(subprocess.Popen([*command, "--robot-version", str(version)], stdout=subprocess.DEVNULL))

    yield start
    for server in servers:
        server.kill()
        server.wait(10)


def connect(driver) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            driver.connect()
            return
        except RobotUnreachableError:
            assert time.monotonic() < deadline_s
            time.sleep(0.1)


@pytest.mark.parametrize(
    ("speaks", "second", "server", "client"),
    [(10, True, 10, "franky"), (10, True, 5, "franka_rs"), (5, True, 5, "franky"), (5, True, 10, "franka_rs"),
     (None, True, 5, "franka_rs"), (9, False, 9, "franky")],
)  # fmt: skip
def test_franky_where_its_build_fits_else_the_second_client(monkeypatch, speaks, second, server, client):
    monkeypatch.setattr(clients, "franky_speaks", lambda: speaks)
    monkeypatch.setattr(clients, "franka_rs_installed", lambda: second)
    assert fitting_client(server) == client


def test_where_no_installed_client_fits_the_ways_out_are_named(monkeypatch):
    monkeypatch.setattr(clients, "franky_speaks", lambda: 10)
    for there, server, way in ((False, 5, "--fix-client panda"), (True, 7, "--fix-client fr3 --server-version 7")):
        monkeypatch.setattr(clients, "franka_rs_installed", lambda there=there: there)
        with pytest.raises(RobotError, match=way):
            fitting_client(server)


def test_the_cell_may_name_the_client():
    hand = GripperConfig(address="127.0.0.1")
    for name, kind in (("franky", FrankaArm), ("franka_rs", FrankaRsArm), ("auto", ChosenArm)):
        arm, gripper = franka_drivers(FrankaConfig(address="127.0.0.1", client=name), hand)
        assert type(arm) is kind and type(gripper) is FrankaGripper


def test_both_versions_are_read_alike_by_the_client_that_fits(serve, module_addresses):
    readings = []
    for address, version, client in zip(module_addresses, (5, 10), ("franka_rs", "franky"), strict=True):
        serve(address, version)
        arm, gripper = franka_drivers(FrankaConfig(address=address), GripperConfig(address=address))
        connect(arm)
        connect(gripper)
        try:
            assert arm.client == client and arm.warning == ""
            reading = arm.read()
            assert reading.mode == RobotMode.IDLE and reading.error == ""
            assert arm.read().robot_time_ms >= reading.robot_time_ms > 0
            readings.append(reading)
            hand = gripper._session._gripper
            assert isinstance(hand, FrankaRsHand) == (client == "franka_rs")
            assert 0.0 <= gripper.reading.width_m <= 0.081
        finally:
            gripper.close()
            arm.close()
    for field in ("q_rad", "dq_rad_s"):
        np.testing.assert_allclose(*(getattr(reading, field) for reading in readings), atol=1e-6, err_msg=field)
    np.testing.assert_allclose(*(reading.measured.pose for reading in readings), atol=1e-6)


def test_friction_that_the_second_client_cannot_compensate_is_said():
    arm = FrankaRsArm(FrankaConfig(address="127.0.0.1", friction_nm=0.2))
    assert arm.warning == "client franka_rs compensates no friction: friction_nm and friction_nms_rad are unused"


def test_both_clients_live_in_one_process():
    done = subprocess.run([sys.executable, "-c", "import franky, franka; franka.Robot; franky.Robot"], timeout=60)
    assert done.returncode == 0
