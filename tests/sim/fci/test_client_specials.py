"""What only one client can: rate limiters and C++ controllers of panda-python, asynchronous targets of pylibfranka."""

import numpy as np
import pytest

from sim.fci.limits import PANDA

pytestmark = pytest.mark.timeout(300)  # the world waits for its clients: a busy machine only slows them down
START_RAD = [0.0, -np.pi / 4, 0.0, -3 * np.pi / 4, 0.0, np.pi / 2, np.pi / 4]


@pytest.fixture(scope="module")
def panda(client_bench, module_address):
    with client_bench(module_address, "panda_client", "--robot-version", "5") as bench:
        yield bench


def test_the_clients_own_rate_limiter_keeps_within_what_the_robot_refuses(panda):
    fastest = panda.run("limited")
    assert fastest["dq_rad_s"] == pytest.approx(0.6, abs=1e-3)
    assert fastest["ddq_rad_s2"] > 0.95 * PANDA.ddq_rad_s2.max()


def test_controllers_in_cpp_follow_poses_and_velocities(panda):
    panda._script = "panda_py_client"
    told = panda.run("")
    panda._script = "panda_client"
    assert told["to_start"] and np.allclose(told["start"], START_RAD, atol=5e-3)
    assert told["to_pose"] and told["pose_error_m"] < 8e-3  # it tracks by torque; joint friction stays
    assert told["impedance_y_m"] == pytest.approx(0.03, abs=3e-3)
    assert 0.03 < told["integrated_q1_rad"] < 0.055


def test_asynchronous_targets_are_reached_without_a_command_per_millisecond(client_bench, robot_address):
    with client_bench(robot_address, "pylibfranka_client") as fr3:
        told = fr3.run("asynchronous")
    assert [status.removeprefix("k") for status in told["statuses"]] == ["TargetReached"] * 2
    assert told["error"] < 5e-3 and told["mode"] == "Idle"  # rad


def test_motions_that_start_where_the_arm_is_run_through_on_an_fr3(client_bench, robot_address):
    with client_bench(robot_address, "pylibfranka_client") as fr3:
        told = fr3.run("measured")
    assert len(told) == 6 and {name: error for name, (_, error) in told.items() if error} == {}
    assert max(lag for lag, _ in told.values()) > 1e-5  # rad: else nothing would have been started off the set-point


@pytest.mark.parametrize(("script", "version"), [("panda_client", 5), ("pylibfranka_client", 10)])
def test_on_the_ideal_arm_every_motion_is_exact(client_bench, robot_address, script, version):
    options = ("--robot-version", str(version), "--backend", "kinematic", "--no-real-time")
    with client_bench(robot_address, script, *options) as bench:
        told = bench.run("motions")
    for name, outcome in told.items():
        if name.startswith("joint_position") and "low-passed" not in name:
            assert np.allclose(outcome["q"], 0.1, atol=2e-6), name
        elif name.startswith("cartesian_pose"):
            assert outcome["z"] == pytest.approx(0.04, abs=2e-6), name
