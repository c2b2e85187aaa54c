"""Quaternions keep one sign; transforms invert."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from d2ppo_core.geometry import (
    canonical_quat_xyzw,
    inverse,
    moved_by,
    rotation_matrix,
    rotation_vector,
    step_between,
    transform_from,
)

vector = st.lists(st.floats(-3.0, 3.0), min_size=3, max_size=3)


@given(turn=vector)
def test_both_signs_of_a_quaternion_become_the_same_input(turn):
    quat = Rotation.from_rotvec(turn).as_quat()
    np.testing.assert_array_equal(canonical_quat_xyzw(quat) @ [1, 0, 0, 0] >= 0, True)
    if abs(quat[0]) > 1e-9:
        np.testing.assert_allclose(canonical_quat_xyzw(-quat), canonical_quat_xyzw(quat))


def test_a_batch_is_made_canonical_row_by_row():
    batch = np.array([[1.0, 0, 0, 0], [-1.0, 0, 0, 0]])
    np.testing.assert_array_equal(canonical_quat_xyzw(batch), [[1, 0, 0, 0], [1, 0, 0, 0]])


@given(turn=vector, position=vector)
def test_a_transform_times_its_inverse_is_the_identity(turn, position):
    transform = transform_from(position, Rotation.from_rotvec(turn))
    np.testing.assert_allclose(transform @ inverse(transform), np.eye(4), atol=1e-12)


@pytest.mark.parametrize("angle_rad", [0.0, 1e-8, 1e-3, 1.0, 3.0, np.pi - 1e-6, np.pi])
def test_a_rotation_vector_and_its_matrix_are_inverse_to_each_other_up_to_half_a_turn(angle_rad):
    rng = np.random.default_rng(1)
    for axis in (*np.eye(3), *(-np.eye(3)), *rng.normal(size=(10, 3))):
        vector = axis / np.linalg.norm(axis) * angle_rad
        matrix = rotation_matrix(vector)
        np.testing.assert_allclose(matrix, Rotation.from_rotvec(vector).as_matrix(), atol=1e-12)
        np.testing.assert_allclose(rotation_matrix(rotation_vector(matrix)), matrix, atol=1e-9)
        if angle_rad < 3.1:
            np.testing.assert_allclose(rotation_vector(matrix), vector, atol=1e-12)


def test_a_step_between_two_poses_leads_from_one_to_the_other():
    start, end = (
        transform_from(*pair)
        for pair in (
            ([0.1, 0.2, 0.3], Rotation.from_rotvec([0.1, -0.2, 0.3])),
            ([0.0, 0.5, 0.2], Rotation.from_rotvec([1.0, 0.5, -0.3])),
        )
    )
    np.testing.assert_allclose(moved_by(start, step_between(start, end)), end, atol=1e-12)
