"""Kinematics of the arm: known postures, the Jacobian against differences, inverse against forward."""

import numpy as np
import pytest

from d2ppo_core.geometry import moved_by, step_between
from d2ppo_core.runtime.safety.kinematics import crossed, posture, pseudo_inverse, solve_ik
from d2ppo_core.runtime.safety.robots import PANDA

READY = np.array([0.0, -np.pi / 4, 0.0, -3 * np.pi / 4, 0.0, np.pi / 2, np.pi / 4])
HAND = np.eye(4)
HAND[2, 3] = 0.1034


def random_postures(count: int) -> np.ndarray:
    return np.random.default_rng(3).uniform(PANDA.q_min_rad, PANDA.q_max_rad, (count, 7))


def test_stretched_upright_the_flange_is_where_the_link_lengths_add_up():
    pose = posture(np.zeros(7), np.eye(4)).pose
    np.testing.assert_allclose(pose[:3, 3], [0.088, 0.0, 0.333 + 0.316 + 0.384 - 0.107], atol=1e-12)
    np.testing.assert_allclose(pose[:3, :3], np.diag([1.0, -1.0, -1.0]), atol=1e-12)


def test_in_the_ready_posture_the_hand_points_down_in_front_of_the_base():
    pose = posture(READY, HAND).pose
    np.testing.assert_allclose(pose[:3, 2], [0.0, 0.0, -1.0], atol=1e-12)
    np.testing.assert_allclose(pose[:3, 3], [0.30689, 0.0, 0.590282 - 0.1034], atol=2e-5)


def test_every_frame_is_a_rotation():
    for q in random_postures(20):
        axes = posture(q, HAND).axes
        np.testing.assert_allclose(axes @ axes.transpose(0, 2, 1), np.tile(np.eye(3), (7, 1, 1)), atol=1e-12)
        np.testing.assert_allclose(np.linalg.det(axes), 1.0)


def test_the_jacobian_is_the_derivative_of_the_pose():
    for q in random_postures(10):
        at = posture(q, HAND)
        slope = [step_between(at.pose, posture(q + 1e-6 * unit, HAND).pose) / 1e-6 for unit in np.eye(7)]
        np.testing.assert_allclose(at.jacobian(), np.array(slope).T, atol=1e-5)


@pytest.mark.parametrize("link", [1, 4, 5, 7])
def test_a_point_of_a_link_moves_with_the_joints_before_it_alone(link):
    local = np.array([0.05, -0.1, 0.03])
    q = random_postures(1)[0]

    def point(q_rad):
        at = posture(q_rad, HAND)
        return at.origins_m[link - 1] + at.axes[link - 1] @ local

    slope = np.array([(point(q + 1e-6 * unit) - point(q)) / 1e-6 for unit in np.eye(7)]).T
    jacobian = posture(q, HAND).point_jacobians(point(q)[None], np.array([link]))[0]
    np.testing.assert_allclose(jacobian, slope, atol=1e-5)
    assert not jacobian[:, link:].any()


def test_the_pseudo_inverse_makes_the_step_with_the_smallest_joint_motion():
    jacobian = posture(READY, HAND).jacobian()
    inverse = pseudo_inverse(jacobian)
    np.testing.assert_allclose(jacobian @ inverse, np.eye(6), atol=1e-3)
    np.testing.assert_allclose(inverse, np.linalg.pinv(jacobian), atol=1e-3)


def test_inverse_kinematics_finds_its_way_back():
    rng = np.random.default_rng(0)
    for _ in range(20):
        pose = moved_by(posture(READY, HAND).pose, rng.uniform(-0.1, 0.1, 6))
        q = solve_ik(pose, READY, HAND)
        np.testing.assert_allclose(posture(q, HAND).pose, pose, atol=1e-9)


def test_the_quick_cross_product_is_numpys():
    a, b = np.random.default_rng(0).normal(size=(2, 4, 3))
    np.testing.assert_allclose(crossed(a, b), np.cross(a, b))
