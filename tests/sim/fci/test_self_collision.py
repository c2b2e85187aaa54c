"""Capsules around the arm agree with what its shapes do, and leave every pose of ordinary work alone."""

import mujoco
import numpy as np
import pytest

from sim.fci.kinematic_arm import bare_arm_model
from sim.fci.self_collision import SelfCollision, segment_distances

FOLDED = [0.0, -1.7, 0.0, -3.0, 0.0, 0.6, 0.785]
WORKING = {
    "lift": [0.0, 0.19634954, 0.0, -2.617993878, 0.0, 2.94159265, 0.785398],
    "ready": [0.0, -0.785398, 0.0, -2.356194, 0.0, 1.570796, 0.785398],
    "stretched": [0.0, 1.2, 0.0, -0.3, 0.0, 1.6, 0.785398],
    "upright": [0.0, 0.0, 0.0, -0.1, 0.0, 1.6, 0.785398],
}


@pytest.fixture(scope="module")
def arm():
    model = bare_arm_model()
    data = mujoco.MjData(model)
    collision = SelfCollision(model, data)

    def distance_m(q):
        data.qpos[:7] = q
        mujoco.mj_kinematics(model, data)
        return collision.distance_m()

    return distance_m


@pytest.mark.parametrize("name", WORKING)
def test_working_poses_are_clear(arm, name):
    assert arm(WORKING[name]) > 0.03  # m


def test_a_hand_on_the_shoulder_is_a_collision(arm):
    assert arm(FOLDED) < 0.0


def test_few_of_all_poses_collide_and_the_distance_changes_continuously(arm):
    from sim.fci.limits import PANDA

    rng = np.random.default_rng(0)
    poses = rng.uniform(PANDA.q_min_rad, PANDA.q_max_rad, (300, 7))
    distances = np.array([arm(q) for q in poses])
    assert 0.0 < (distances < 0.0).mean() < 0.1
    for q, distance in zip(poses[:50], distances[:50], strict=True):
        assert abs(arm(q + 1e-3) - distance) < 0.01


def test_segments_are_as_far_apart_as_their_nearest_points():
    rng = np.random.default_rng(1)
    a0, a1, b0, b1 = rng.normal(size=(4, 6, 3))
    exact = segment_distances(a0, a1, b0, b1)
    grid = np.linspace(0.0, 1.0, 201)
    for i in range(6):
        for j in range(6):
            p = a0[i] + grid[:, None] * (a1[i] - a0[i])
            q = b0[j] + grid[:, None] * (b1[j] - b0[j])
            nearest = np.linalg.norm(p[:, None] - q[None], axis=-1).min()
            assert exact[i, j] == pytest.approx(nearest, abs=2e-2) and exact[i, j] <= nearest + 1e-9
