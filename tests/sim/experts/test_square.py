"""Decisions of the demonstrator of Square."""

import numpy as np
import pytest

from sim.experts.arm import wrap_angle
from sim.experts.square import MAX_TURN_RAD, seated_yaw


@pytest.mark.parametrize("nut_rad", np.linspace(-3, 3, 13))
@pytest.mark.parametrize("second_choice", [False, True])
def test_the_nut_fits_and_is_turned_no_further_than_the_wrist_allows(nut_rad, second_choice):
    fit_rad = seated_yaw(nut_rad, second_choice=second_choice)
    assert wrap_angle(fit_rad, np.pi / 2) == pytest.approx(0, abs=1e-9)
    assert abs(fit_rad - nut_rad) <= (MAX_TURN_RAD if second_choice else np.pi / 4) + 1e-9


def test_the_second_choice_turns_the_other_way_where_that_is_in_reach():
    assert seated_yaw(0.5, second_choice=False) == pytest.approx(0.0)
    assert seated_yaw(0.5, second_choice=True) == pytest.approx(np.pi / 2)
    assert seated_yaw(0.1, second_choice=True) == pytest.approx(0.0)
