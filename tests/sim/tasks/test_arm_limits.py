"""What counts as beyond a real arm's limits."""

import numpy as np
import pytest

from d2ppo_core.runtime.safety.kinematics import posture
from d2ppo_core.runtime.safety.robots import ROBOTS
from sim.tasks.arm_limits import MARGIN_RAD, STRETCHED_RAD, passed
from sim.tasks.training import HOME_Q_RAD


def test_home_is_within_them():
    assert not passed(np.array(HOME_Q_RAD)).any()


@pytest.mark.parametrize("robot", ROBOTS.values(), ids=ROBOTS)
def test_an_end_of_a_joint_of_any_robot_is_beyond_them(robot):
    for joint in range(7):
        for end in (robot.q_min_rad[joint] + MARGIN_RAD / 2, robot.q_max_rad[joint] - MARGIN_RAD / 2):
            q_rad = np.array(HOME_Q_RAD)
            q_rad[joint] = end
            assert passed(q_rad), (robot.name, joint, end)


def test_no_elbow_reaches_farther_than_the_stretched_one():
    """Distance from the shoulder (origin of joint 2) to the wrist (of joint 5), which only joint 4 changes."""

    def reach_m(elbow_rad):
        q_rad = np.array(HOME_Q_RAD)
        q_rad[3] = elbow_rad
        origins_m = posture(q_rad, np.eye(4)).origins_m
        return np.linalg.norm(origins_m[4] - origins_m[1])

    angles = np.linspace(-1.5, -0.08, 143)
    assert angles[np.argmax([reach_m(angle) for angle in angles])] == pytest.approx(STRETCHED_RAD, abs=0.01)


def test_of_many_each_is_judged():
    q_rad = np.tile(np.array(HOME_Q_RAD), (2, 3, 1))
    q_rad[1, 2, 3] = STRETCHED_RAD
    np.testing.assert_array_equal(passed(q_rad), [[False] * 3, [False, False, True]])
