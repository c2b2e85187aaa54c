"""Two arms in one world: each knows itself alone, feels its own contacts, and both move in the same millisecond."""

import numpy as np
import pytest

from sim.tasks import task_named
from sim.world.bare_arm import bare_arm_model
from sim.world.world import World


@pytest.fixture(scope="module")
def world():
    return World(task_named("transport"), seed=3)


def test_arms_are_the_lift_arm_in_another_place(world):
    lift = World(task_named("lift"))
    assert [arm.name for arm in world.arms] == ["left", "right"]
    for arm in world.arms:
        assert np.allclose(arm.ee_pose(), lift.ee_pose(), atol=1e-6)
        assert np.allclose(arm.gravity_nm, lift.gravity_nm, atol=1e-4)
        assert arm.fingers.width_m == pytest.approx(lift.fingers.width_m, abs=1e-4)


def test_what_an_arm_knows_of_itself_follows_the_world(world):
    first, second = world.arms
    q = np.array([0.3, 0.1, -0.2, -2.0, 0.2, 2.2, 0.5])
    second.place_arm(q, 0.02)
    assert np.allclose(second.data.qpos, [*q, 0.01, -0.01])
    assert np.allclose(first.data.qpos[:7], world.task.home_q_rad, atol=1e-6)
    for arm, prefix in ((first, "robot0"), (second, "robot1")):
        assert np.allclose(arm.data.body("robot0_link7").xpos, world.data.body(f"{prefix}_link7").xpos, atol=1e-12)
        assert arm.model.nv == 9
    second.place_arm(np.array(world.task.home_q_rad), 0.04)


def test_world_advances_with_the_last_arm_and_not_before(world):
    before_ns = world.time_ns
    world.arms[0].step(np.zeros(7))
    assert world.time_ns == before_ns
    world.arms[1].step(np.zeros(7))
    assert world.time_ns == before_ns + 1_000_000


def test_only_the_arm_that_is_driven_moves(world):
    before = [arm.q_rad.copy() for arm in world.arms]
    for _ in range(100):
        world.step(np.array([0.0] * 7 + [2.0] + [0.0] * 6))
    assert np.abs(world.arms[0].q_rad - before[0]).max() < 1e-6
    assert world.arms[1].q_rad[0] - before[1][0] > 1e-3


def test_only_the_arm_that_presses_feels_it():
    world = World(task_named("transport"))
    left, right = world.arms
    right.place_arm(np.array([0.0, 0.55, 0.0, -2.25, 0.0, 2.8, 0.785]), 0.0)
    for _ in range(700):
        world.step(np.array([0.0] * 7 + [0.0, 8.0] + [0.0] * 5))
    assert np.abs(left.tau_ext_nm).max() < 1e-9
    assert np.abs(right.tau_ext_nm).max() > 1.0  # Nm


def test_bare_arm_has_the_same_names_whatever_its_number():
    first, second = bare_arm_model("transport"), bare_arm_model("transport", 1)
    assert [first.joint(i).name for i in range(first.njnt)] == [second.joint(i).name for i in range(second.njnt)]
    assert np.allclose(first.body_mass, second.body_mass) and np.allclose(first.body_inertia, second.body_inertia)
    assert not np.allclose(first.body("robot0_base").pos, second.body("robot0_base").pos)
