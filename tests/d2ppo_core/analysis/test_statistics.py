"""Intervals against values that can be looked up."""

import numpy as np
import pytest
from scipy.stats import binomtest

from d2ppo_core.analysis.statistics import spread, wilson_interval


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (10, 10), (41, 50), (1, 200)])
def test_the_wilson_interval_is_scipys(successes, trials):
    expected = binomtest(successes, trials).proportion_ci(method="wilson")
    assert wilson_interval(successes, trials) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_no_trials_tell_nothing():
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_more_successes_than_trials_are_refused():
    with pytest.raises(ValueError, match=r"0\.\.3, got 4"):
        wilson_interval(4, 3)


def test_a_spread_of_nothing_is_not_a_number():
    assert np.isnan(spread([]).p50)
    assert spread([1.0, 2.0, 9.0]).maximum == 9.0
