"""Values at their limits pass, values beyond and NaN do not."""

import itertools

import numpy as np
import pytest

from sim.fci.bounds import between, inside
from sim.fci.limits import FR3, PANDA

ONES = np.ones(7)


def test_values_at_their_limits_are_inside():
    assert inside(ONES, [1.0] * 7) and inside(-ONES, [1.0] * 7)
    assert between(ONES, ONES, ONES)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 1.0 + 1e-12, -1.0 - 1e-12])
def test_one_value_beyond_is_enough(wrong):
    for at in range(7):
        values = np.zeros(7)
        values[at] = wrong
        assert not inside(values, [1.0] * 7) and not between(values, -ONES, ONES)


@pytest.mark.parametrize("robot", [PANDA, FR3])
def test_speeds_up_to_the_limit_and_its_rounding_are_allowed(robot):
    rng, slack = np.random.default_rng(1), (robot.rounding[0] - 1.0) * robot.dq_rad_s
    beyond = rng.uniform(robot.q_min_rad - 0.1, robot.q_max_rad + 0.1, (300, 7))
    for q in [*beyond, robot.q_min_rad, robot.q_max_rad]:
        low, high = robot.velocity_bounds(q)
        assert robot.allow_speeds(high + (1.0 - 1e-9) * slack, q) and robot.allow_speeds(low - (1.0 - 1e-9) * slack, q)
        for at, wrong in itertools.product(range(7), (high + (1.0 + 1e-9) * slack, low - (1.0 + 1e-9) * slack)):
            speeds = np.zeros(7)
            speeds[at] = wrong[at]
            assert not robot.allow_speeds(speeds, q)
            speeds[at] = np.nan
            assert not robot.allow_speeds(speeds, q)


def test_between_the_ends_of_the_travel_the_velocity_limits_are_those_of_the_formula():
    rng = np.random.default_rng(0)
    for q in rng.uniform(FR3.q_min_rad, FR3.q_max_rad, (500, 7)):
        low, high = FR3.velocity_bounds(q)
        reach = np.sqrt(2.0 * FR3.deceleration_rad_s2 * (FR3.q_max_rad - q)) - FR3.velocity_offset_rad_s
        drop = np.sqrt(2.0 * FR3.deceleration_rad_s2 * (q - FR3.q_min_rad)) - FR3.velocity_offset_rad_s
        assert np.allclose(high, np.clip(reach, 0.0, FR3.dq_rad_s)) and np.allclose(
            -low, np.clip(drop, 0.0, FR3.dq_rad_s)
        )
