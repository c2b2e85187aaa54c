"""Decisions of the demonstrator of Square."""

import numpy as np
import pytest

from sim.experts.arm import wrap_angle
from sim.experts.square import LONGEST_TURN_RAD, SEATED_WRIST_RAD, SEATED_YAW_RAD, WRIST_RAD, ways_to_turn

HOME_RAD = -np.pi / 2


@pytest.mark.parametrize("nut_rad", np.linspace(-np.pi, np.pi, 41))
def test_however_the_nut_lies_the_wrist_can_turn_its_handle_towards_the_arm(nut_rad):
    ways = ways_to_turn(nut_rad, HOME_RAD)
    assert ways
    for turn_rad, grasp_rad in ways:
        assert wrap_angle(nut_rad + turn_rad - SEATED_YAW_RAD) == pytest.approx(0, abs=1e-9)
        assert wrap_angle(HOME_RAD + grasp_rad - nut_rad - np.pi / 2, np.pi) == pytest.approx(0, abs=1e-9)
        assert WRIST_RAD[0] <= grasp_rad <= WRIST_RAD[1]
        assert SEATED_WRIST_RAD[0] <= grasp_rad + turn_rad <= SEATED_WRIST_RAD[1]
        assert abs(turn_rad) <= LONGEST_TURN_RAD


def test_the_way_of_least_turning_comes_first():
    for nut_rad in np.linspace(-np.pi, np.pi, 41):
        turned = [abs(turn_rad) + abs(grasp_rad) for turn_rad, grasp_rad in ways_to_turn(nut_rad, HOME_RAD)]
        assert turned == sorted(turned)
