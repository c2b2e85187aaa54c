"""Values at their limits pass, values beyond and NaN do not."""

import numpy as np
import pytest

from sim.fci.bounds import between, inside
from sim.fci.limits import FR3

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


def test_between_the_ends_of_the_travel_the_velocity_limits_are_those_of_the_formula():
    rng = np.random.default_rng(0)
    for q in rng.uniform(FR3.q_min_rad, FR3.q_max_rad, (500, 7)):
        low, high = FR3.velocity_bounds(q)
        reach = np.sqrt(2.0 * FR3.deceleration_rad_s2 * (FR3.q_max_rad - q)) - FR3.velocity_offset_rad_s
        drop = np.sqrt(2.0 * FR3.deceleration_rad_s2 * (q - FR3.q_min_rad)) - FR3.velocity_offset_rad_s
        assert np.allclose(high, np.clip(reach, 0.0, FR3.dq_rad_s)) and np.allclose(
            -low, np.clip(drop, 0.0, FR3.dq_rad_s)
        )
