"""Intervals against values that can be looked up."""

import numpy as np
import pytest
from scipy.stats import binomtest

from d2ppo_core.analysis.statistics import paired_proportions, spread, two_proportions, wilson_interval


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (10, 10), (41, 50), (1, 200)])
def test_the_wilson_interval_is_scipys(successes, trials):
    expected = binomtest(successes, trials).proportion_ci(method="wilson")
    assert wilson_interval(successes, trials) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_no_trials_tell_nothing():
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_more_successes_than_trials_are_refused():
    with pytest.raises(ValueError, match=r"0\.\.3, got 4"):
        wilson_interval(4, 3)


def test_two_rates_are_told_apart_as_by_fisher_at_the_tea_table():
    assert two_proportions(3, 4, 1, 4) == pytest.approx(34 / 70)


def test_two_rates_are_told_apart_the_better_the_more_trials_there_are():
    assert two_proportions(70, 100, 60, 100) > 0.1
    assert two_proportions(700, 1000, 600, 1000) < 1e-4
    assert two_proportions(200, 200, 200, 200) == 1.0


@pytest.mark.parametrize(("first", "second", "p"), [(3, 9, 598 / 4096), (9, 3, 598 / 4096), (5, 5, 1.0), (1, 0, 1.0)])
def test_paired_rates_are_told_apart_by_the_trials_in_which_they_differ(first, second, p):
    assert paired_proportions(first, second) == pytest.approx(p)


def test_rates_that_never_differ_are_not_told_apart():
    assert paired_proportions(0, 0) == 1.0


def test_impossible_counts_are_refused():
    with pytest.raises(ValueError, match=r"0\.\.3, got 4"):
        two_proportions(1, 2, 4, 3)
    with pytest.raises(ValueError, match="negative, got -1 and 2"):
        paired_proportions(-1, 2)


def test_a_spread_of_nothing_is_not_a_number():
    assert np.isnan(spread([]).p50)
    assert spread([1.0, 2.0, 9.0]).maximum == 9.0
