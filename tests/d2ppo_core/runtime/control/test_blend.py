"""Blends start as they are told, end in nothing, and stay within their limits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from d2ppo_core.errors import ConfigError
from d2ppo_core.runtime.control.blend import BlendLimits, seam, stop

LIMITS = BlendLimits(longest_s=0.5, acceleration_m_s2=3.0, jerk_m_s3=100.0, acceleration_rad_s2=12.0, jerk_rad_s3=400.0)
"""Slower than the default, so that the limits and not the least duration decide."""


def vectors(size: float) -> st.SearchStrategy[np.ndarray]:
    return st.lists(st.floats(-size, size), min_size=6, max_size=6).map(np.array)


@given(vectors(0.02), vectors(0.3), vectors(3.0))
def test_a_seam_starts_at_the_offset_and_ends_in_nothing(offset, rate, acceleration):
    blend = seam(offset, rate, acceleration, LIMITS)
    for part, wanted in zip(blend.at(0.0), (offset, rate, acceleration), strict=True):
        np.testing.assert_allclose(part, wanted, atol=1e-9)
    for part in (*blend.at(blend.duration_s - 1e-9), *blend.at(9.0)):
        np.testing.assert_allclose(part, 0.0, atol=1e-5)
    assert LIMITS.shortest_s <= blend.duration_s <= LIMITS.longest_s


@given(vectors(0.4), vectors(3.0))
def test_a_stop_starts_with_the_motion_and_ends_at_rest(rate, acceleration):
    blend = stop(rate, acceleration, LIMITS)
    for part, wanted in zip(blend.at(0.0), (np.zeros(6), rate, acceleration), strict=True):
        np.testing.assert_allclose(part, wanted, atol=1e-9)
    way, *rest = blend.at(9.0)
    for part in rest:
        np.testing.assert_array_equal(part, 0.0)
    np.testing.assert_allclose(way, 0.5 * blend.duration_s * rate + blend.duration_s**2 / 12 * acceleration, atol=1e-9)


@pytest.mark.parametrize("jump_m", [0.001, 0.005, 0.02, 0.05])
def test_a_jump_takes_as_long_as_its_limits_need(jump_m):
    blend = seam(np.array([jump_m, 0, 0, 0, 0, 0]), np.zeros(6), np.zeros(6), LIMITS)
    times = np.linspace(0.0, blend.duration_s, 1000)
    acceleration = np.array([blend.at(float(t))[2][0] for t in times])
    jerk = np.diff(acceleration) / np.diff(times)
    assert np.abs(acceleration[:-1]).max() < 1.01 * LIMITS.acceleration_m_s2
    assert np.abs(jerk[:-1]).max() < 1.01 * LIMITS.jerk_m_s3
    least_s = max((60.0 * jump_m / LIMITS.jerk_m_s3) ** (1 / 3), (5.78 * jump_m / LIMITS.acceleration_m_s2) ** 0.5)
    assert blend.duration_s <= 1.2 * max(least_s, LIMITS.shortest_s) + 1e-9, "and no longer"


def test_a_turn_counts_by_its_own_limits():
    tight = BlendLimits(longest_s=0.5, acceleration_rad_s2=0.5, jerk_rad_s3=5.0)
    turn = np.array([0, 0, 0, 0, 0, 0.01])
    assert seam(turn, np.zeros(6), np.zeros(6), tight).duration_s > 3.0 * LIMITS.shortest_s
    assert seam(turn, np.zeros(6), np.zeros(6), LIMITS).duration_s < 2.0 * LIMITS.shortest_s


def test_a_change_of_speed_from_chunk_to_chunk_is_over_before_the_next_chunk():
    rate = np.array([0.11, 0, 0, 0, 0, 0])  # m/s, the most that chunks of demonstrations of Lift differ by at a seam
    assert seam(np.zeros(6), rate, np.zeros(6), BlendLimits()).duration_s < 0.2


def test_limits_that_cannot_be_are_refused():
    with pytest.raises(ConfigError, match=r"blends need 0 < shortest_s <= longest_s, got 0.6 and 0.2"):
        BlendLimits(shortest_s=0.6)
    with pytest.raises(ConfigError, match=r"blends need 0 < stop_s <= longest_stop_s, got 0.6 and 0.5"):
        BlendLimits(stop_s=0.6)
    with pytest.raises(ConfigError, match="accelerations and jerks of blends must be positive"):
        BlendLimits(jerk_m_s3=0.0)
