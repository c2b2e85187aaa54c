"""Quaternions keep one sign; transforms invert."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from d2ppo_core.geometry import canonical_quat_xyzw, inverse, transform_from

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
