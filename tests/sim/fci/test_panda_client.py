"""What only one of the clients can: rate limiters and C++ controllers of panda-python, asynchronous targets."""

import numpy as np
import pytest

from sim.fci.limits import PANDA

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
