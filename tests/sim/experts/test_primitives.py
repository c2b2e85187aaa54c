"""Movements and styles of the demonstrators, without a simulator."""

from types import SimpleNamespace

import numpy as np
import pytest

from d2ppo_core.errors import ConfigError
from sim.experts import ActionNoise, Style, expert_for
from sim.experts.arm import DOWN, wrap_angle
from sim.experts.lift import MAX_TURN_RAD, grasp_yaw
from sim.experts.primitives import CLOSE, OPEN, Goal, move_to, servo, wait


def hand_at(position_m, yaw_rad=0.0, base=None):
    """A hand that stands still and points down."""
    base = np.eye(3) if base is None else base
    return SimpleNamespace(position_m=np.array(position_m), yaw_rad=yaw_rad, approach=DOWN, R_world_base=base)


def goal_at(position_m, yaw_rad=0.0):
    return Goal(position_m=np.array(position_m), yaw_rad=yaw_rad)


def test_the_servo_moves_straight_at_its_speed_limit_when_far():
    action = servo(hand_at([0, 0, 0]), goal_at([3.0, 4.0, 0.0]), OPEN, speed=0.5, turn_speed=0.5)
    np.testing.assert_allclose(action, [0.3, 0.4, 0, 0, 0, 0, -1], atol=1e-12)


def test_the_servo_slows_down_in_proportion_when_near():
    near, nearer = (servo(hand_at([0, 0, 0]), goal_at([x, 0, 0]), OPEN, speed=1, turn_speed=1) for x in (0.02, 0.01))
    assert near[0] == pytest.approx(2 * nearer[0]) and 0 < near[0] < 1


def test_the_servo_answers_in_the_frame_of_the_robots_base():
    quarter_turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    action = servo(hand_at([0, 0, 0], base=quarter_turn), goal_at([0.01, 0, 0]), OPEN, speed=1, turn_speed=1)
    assert action[1] < 0 and action[0] == pytest.approx(0)


def test_the_servo_turns_the_short_way():
    action = servo(hand_at([0, 0, 0], yaw_rad=3.0), goal_at([0, 0, 0], yaw_rad=-3.0), CLOSE, speed=1, turn_speed=1)
    assert action[5] == pytest.approx((2 * np.pi - 6.0) * 0.7 / 0.5)


def test_a_movement_ends_at_its_goal_and_gives_up_when_it_cannot_get_there():
    pace = {"speed": 1.0, "turn_speed": 1.0, "tolerance_m": 0.005, "max_steps": 5}
    there = list(move_to(hand_at([0, 0, 0]), lambda: goal_at([0, 0, 0.004]), OPEN, **pace))
    never = list(move_to(hand_at([0, 0, 0]), lambda: goal_at([1, 0, 0]), OPEN, **pace))
    assert (len(there), len(never)) == (0, 5)


def test_waiting_is_labelled_with_no_motion_and_not_disturbed():
    commands = list(wait(CLOSE, 3))
    assert [(c.action.tolist(), c.noise_gain) for c in commands] == [([0, 0, 0, 0, 0, 0, 1], 0.0)] * 3


@pytest.mark.parametrize("cube_rad", np.linspace(-3, 3, 13))
@pytest.mark.parametrize("second_choice", [False, True])
def test_a_grasp_faces_two_sides_of_the_cube_within_reach_of_the_wrist(cube_rad, second_choice):
    yaw_rad = grasp_yaw(0.3, cube_rad, second_choice=second_choice)
    assert wrap_angle(yaw_rad - cube_rad, np.pi / 2) == pytest.approx(0, abs=1e-9)
    assert abs(yaw_rad - 0.3) <= (MAX_TURN_RAD if second_choice else np.pi / 4) + 1e-9


def test_the_second_choice_is_another_grasp_where_the_wrist_allows_it():
    assert grasp_yaw(0.0, 0.5, second_choice=False) == pytest.approx(0.5)
    assert grasp_yaw(0.0, 0.5, second_choice=True) == pytest.approx(0.5 - np.pi / 2)
    assert grasp_yaw(0.0, 0.1, second_choice=True) == pytest.approx(0.1)


def test_styles_repeat_by_seed_and_differ_between_seeds():
    first, again, other = (Style.draw(np.random.default_rng(seed), 0.7) for seed in (1, 1, 2))
    assert first.speed == again.speed and first.hover_m == again.hover_m
    assert first.speed != other.speed


def test_sloppier_styles_are_noisier():
    careful, sloppy = (Style.draw(np.random.default_rng(0), skill) for skill in (1.0, 0.0))
    assert sloppy.noise_std > careful.noise_std > 0
    assert Style.plain().noise_std == 0


@pytest.mark.parametrize("skill", [-0.1, 1.1, float("nan")])
def test_a_skill_out_of_range_is_refused(skill):
    with pytest.raises(ConfigError, match="skill must be within"):
        Style.draw(np.random.default_rng(0), skill)


def test_noise_is_stationary_correlated_and_spares_the_gripper():
    noise = ActionNoise(np.random.default_rng(0), 0.2)
    samples = np.array([noise() for _ in range(20_000)])[100:]
    assert samples[:, 0].std() == pytest.approx(0.2, rel=0.1)
    assert np.corrcoef(samples[1:, 0], samples[:-1, 0])[0, 1] == pytest.approx(ActionNoise.CORRELATION, abs=0.03)
    assert not samples[:, 6].any()


def test_a_task_without_an_expert_is_refused():
    with pytest.raises(ConfigError, match="unknown task 'juggling'"):
        expert_for("juggling")
