"""What the two robots may do, as published."""

import dataclasses

import numpy as np
import pytest

from d2ppo_core.errors import ConfigError
from d2ppo_core.runtime.safety.robots import FR3, PANDA, Robot, robot_named


@pytest.mark.parametrize("robot", [PANDA, FR3])
def test_every_limit_has_its_shape_and_is_positive(robot: Robot):
    for field in dataclasses.fields(robot):
        value = getattr(robot, field.name)
        if isinstance(value, np.ndarray):
            assert value.shape == (7,), field.name
    assert (robot.q_min_rad < robot.q_max_rad).all()
    for name in ("dq_rad_s", "ddq_rad_s2", "dddq_rad_s3", "tau_nm"):
        assert (getattr(robot, name) > 0.0).all(), name


def test_a_panda_may_go_at_full_speed_anywhere_and_an_fr3_slows_down_before_its_ends():
    for robot, slower in ((PANDA, False), (FR3, True)):
        low, high = robot.velocity_bounds(robot.q_max_rad - 0.01)
        np.testing.assert_array_equal(low, -robot.dq_rad_s)
        assert (high < robot.dq_rad_s).all() == slower
        assert (high >= 0.0).all()
    _, at_the_end = FR3.velocity_bounds(FR3.q_max_rad)
    np.testing.assert_array_equal(at_the_end, 0.0)


def test_shared_limits_cannot_be_written_to():
    with pytest.raises(ValueError, match="read-only"):
        PANDA.q_min_rad[0] = 0.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        PANDA.dtau_nm_s = 0.0


def test_an_unknown_robot_is_refused_by_name():
    assert robot_named("fr3") is FR3
    with pytest.raises(ConfigError, match="robot: wanted one of panda, fr3, got 'ur5'"):
        robot_named("ur5")
