"""Six numbers for a rotation, and goals made of deltas and back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from d2ppo_core.actions import deltas_from_goals, goals_from_deltas, rotations_6d, rotations_from_6d
from d2ppo_core.representations import EE_ABSOLUTE, OSC_DELTA, bounded

ROTVEC = st.lists(st.floats(-3.0, 3.0), min_size=3, max_size=3)
YAWED = Rotation.from_euler("z", [[np.pi / 2], [-np.pi / 2]]).as_matrix()


def poses(count: int, arms: int = 2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    rotations = Rotation.random(count * arms, random_state=3).as_matrix().reshape(count, arms, 3, 3)
    return rng.uniform(-0.5, 1.2, (count, arms, 3)), rotations


@settings(max_examples=100, deadline=None)
@given(rotvec=ROTVEC)
def test_six_numbers_are_the_rotation_again(rotvec):
    matrix = Rotation.from_rotvec(rotvec).as_matrix()
    again, valid = rotations_from_6d(rotations_6d(matrix))
    assert valid
    np.testing.assert_allclose(again, matrix, atol=1e-12)


@settings(max_examples=100, deadline=None)
@given(six=st.lists(st.floats(-2.0, 2.0), min_size=6, max_size=6))
def test_whatever_counts_as_a_rotation_is_one(six):
    matrix, valid = rotations_from_6d(six)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(matrix) == pytest.approx(1.0)
    if valid:
        first = np.array(six[:3]) / np.linalg.norm(six[:3])
        np.testing.assert_allclose(matrix[:, 0], first, atol=1e-9)
        assert matrix[:, 1] @ six[3:] > 0.0


@pytest.mark.parametrize(
    "six",
    [[0, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, 0], [1, 0, 0, 0.9, 0, 0], [np.nan, 0, 0, 0, 1, 0], [1, 0, 0, 0, np.inf, 0]],
)
def test_short_parallel_and_endless_columns_are_no_rotation(six):
    matrices, valid = rotations_from_6d([six, [1, 0, 0, 0, 1, 0]])
    assert valid.tolist() == [False, True]
    np.testing.assert_array_equal(matrices[0], np.eye(3))


def test_a_delta_is_scaled_and_turned_with_the_base():
    actions = np.zeros((1, 14))
    actions[0, [0, 6, 7, 12, 13]] = 1.0, -1.0, 1.0, 0.4, 1.0  # both along their base's x; the second also turns in yaw
    positions, rotations = np.zeros((1, 2, 3)), np.tile(np.eye(3), (1, 2, 1, 1))
    first, second = goals_from_deltas(actions, positions, rotations, YAWED).reshape(2, 10)
    np.testing.assert_allclose(first, [0, 0.05, 0, 1, 0, 0, 0, 1, 0, -1], atol=1e-12)
    np.testing.assert_allclose(second[:3], [0, -0.05, 0], atol=1e-12)
    np.testing.assert_allclose(second[3:6], [np.cos(0.2), np.sin(0.2), 0], atol=1e-12)
    assert second[9] == 1.0


def test_goals_lead_back_to_their_deltas_within_the_scale():
    positions, rotations = poses(50)
    actions = np.random.default_rng(0).uniform(-1, 1, (50, 14))
    goals = goals_from_deltas(actions, positions, rotations, YAWED)
    np.testing.assert_allclose(deltas_from_goals(goals, positions, rotations, YAWED), actions, atol=1e-9)
    beyond = goals_from_deltas(3.0 * actions, positions, rotations, YAWED)
    clipped = np.where(np.arange(14) % 7 < 6, (3.0 * actions).clip(-1, 1), 3.0 * actions)
    np.testing.assert_allclose(deltas_from_goals(beyond, positions, rotations, YAWED), clipped, atol=1e-9)


def test_a_goal_out_of_reach_asks_for_the_largest_delta_and_no_rotation_for_no_turn():
    positions, rotations = poses(1, arms=1)
    goal = np.r_[positions[0, 0] + [1.0, -1.0, 0.02], np.zeros(6), 1.0]
    delta = deltas_from_goals(goal[None], positions, rotations, np.eye(3)[None])
    np.testing.assert_allclose(delta, [[1.0, -1.0, 0.4, 0, 0, 0, 1.0]], atol=1e-9)


def test_worlds_get_deltas_within_their_bounds_and_goals_as_they_are():
    actions = np.array([[-2.0, 0.5, 1.5]])
    np.testing.assert_array_equal(bounded(actions, OSC_DELTA), [[-1.0, 0.5, 1.0]])
    np.testing.assert_array_equal(bounded(actions, EE_ABSOLUTE), actions)
