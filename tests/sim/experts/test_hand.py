"""A hand that holds against a pull, without a simulator."""

from types import SimpleNamespace

import numpy as np
import pytest

from sim.experts.arm import DOWN
from sim.experts.hand import Hand, at
from sim.experts.primitives import CLOSE, OPEN, ROTATION_SCALE_RAD, TRANSLATION_SCALE_M, Goal, Pull, push, turn_error
from sim.experts.style import Style

TILTED = np.array([0.0, np.sqrt(0.5), -np.sqrt(0.5)])
PULL_M = np.array([0.0, 0.004, -0.006])
"""What the world takes from each control step's motion."""


def make_arm():
    fingers = np.array([1.0, 0.0, 0.0])
    return SimpleNamespace(
        position_m=np.zeros(3), yaw_rad=0.0, approach=DOWN, finger_axis=fingers, R_world_base=np.eye(3)
    )


def move(arm, action):
    """A world in which a tenth of the commanded delta happens, and a pull."""
    arm.position_m = arm.position_m + 0.1 * TRANSLATION_SCALE_M * action[:3] + 0.1 * PULL_M


def test_a_pulled_hand_reaches_its_goal_and_stays():
    arm = make_arm()
    hand = Hand(arm, Style.plain())
    for command in hand.go(at([0.05, 0.0, 0.02], 0.0), OPEN, tolerance_m=0.001, max_steps=300):
        move(arm, command.action)
    np.testing.assert_allclose(arm.position_m, [0.05, 0.0, 0.02], atol=0.001)
    reached = arm.position_m
    for command in hand.stay(CLOSE, 50):
        move(arm, command.action)
        assert command.action[6] == CLOSE
    np.testing.assert_allclose(arm.position_m, reached, atol=0.004)


def test_a_stay_ends_when_something_happens():
    hand = Hand(make_arm(), Style.plain())
    happened = iter([False, False, True])
    assert len(list(hand.stay(OPEN, 100, until=lambda: next(happened)))) == 2


def test_a_pull_is_learned_near_or_when_stuck_and_forgotten_on_the_way():
    near, goal = Pull(), np.array([0.05, 0.0, 0.0])
    for step in range(1000):
        near.learn(np.array([0.0, 0.01 * (step % 2), 0.0]), goal)
    assert near.delta_m[0] == pytest.approx(0.06), "never beyond its limit"
    for step in range(60):
        near.learn(np.array([0.01 * step, 0.0, 0.0]), np.array([2.0, 0.0, 0.0]))
    assert near.delta_m[0] < 0.001
    stuck = Pull()
    for _ in range(10):
        stuck.learn(np.zeros(3), np.array([0.0, 2.0, 0.0]))
    assert stuck.delta_m[1] > 0.02


def test_actions_stay_within_their_range_however_hard_the_hand_pushes():
    arm, pull = make_arm(), Pull()
    pull.delta_m = np.array([0.06, 0.06, 0.06])
    action = push(arm, Goal(np.array([0.06, 0.06, 0.06]), 0.0), CLOSE, pull, speed=1.0, turn_speed=0.5)
    assert np.abs(action).max() <= 1.0 and action[0] == 1.0


@pytest.mark.parametrize("yaw_rad", [-1.2, 0.0, 0.7])
def test_a_tilted_goal_is_reached_by_its_rotation_vector(yaw_rad):
    goal = Goal(np.zeros(3), yaw_rad, TILTED)
    assert goal.finger_axis @ TILTED == pytest.approx(0.0, abs=1e-12)
    assert np.arctan2(goal.finger_axis[1], goal.finger_axis[0]) == pytest.approx(yaw_rad)
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_rotvec(turn_error(make_arm(), goal))
    np.testing.assert_allclose(turn.apply(DOWN), TILTED, atol=1e-9)
    np.testing.assert_allclose(turn.apply([1.0, 0.0, 0.0]), goal.finger_axis, atol=1e-9)


def test_downward_goals_turn_about_the_vertical_only():
    np.testing.assert_allclose(turn_error(make_arm(), Goal(np.zeros(3), 0.4)), [0.0, 0.0, 0.4], atol=1e-12)
    assert ROTATION_SCALE_RAD == 0.5
