"""The ideal arm is a robot with the world's masses and frames, and with fingers."""

import numpy as np
import pytest

from sim.fci.kinematic_arm import DT_S, KinematicArm
from sim.tasks import task_named
from sim.world.world import World


@pytest.fixture
def arm():
    return KinematicArm()


def test_it_starts_where_the_world_does_and_weighs_the_same(arm):
    world = World(task_named("lift"))
    assert np.array_equal(arm.q_rad, world.q_rad)
    assert np.allclose(arm.ee_pose(), world.ee_pose(), atol=1e-12)
    assert np.allclose(arm.gravity_nm, world.gravity_nm, atol=0.03)  # Nm; its fingers are closed, the world's are not
    assert arm.fingers.width_m == pytest.approx(world.fingers.width_m)


def test_it_is_where_it_is_told_to_be(arm):
    wanted = arm.q_rad + 0.3
    arm.follow(wanted, np.full(7, 0.1))
    arm.step(np.full(7, 100.0))
    assert np.array_equal(arm.q_rad, wanted) and np.array_equal(arm.dq_rad_s, np.full(7, 0.1))
    assert arm.time_ns == 1_000_000


def test_torques_accelerate_and_friction_brakes_it(arm):
    start = arm.q_rad.copy()
    for _ in range(100):
        arm.step(np.ones(7))
    assert (arm.q_rad > start).all() and (arm.dq_rad_s > 0).all()
    speed = arm.dq_rad_s.copy()
    for _ in range(100):
        arm.step(np.zeros(7))
    assert (arm.dq_rad_s < speed).all()


def test_fingers_travel_at_their_speed_unless_they_are_held_or_slow(arm):
    fingers = arm.fingers
    fingers.place(0.04)
    fingers.command(0.08, 0.1)
    for _ in range(100):
        arm.step(np.zeros(7))
    assert fingers.width_m == pytest.approx(0.05) and fingers.speed_m_s == pytest.approx(0.1)
    fingers.speed_share = 0.1
    for _ in range(100):
        arm.step(np.zeros(7))
    assert fingers.width_m == pytest.approx(0.051) and not fingers.pressing
    fingers.blocked = True
    arm.step(np.zeros(7))
    assert fingers.speed_m_s == 0.0 and fingers.pressing
    fingers.blocked, fingers.speed_share = False, 1.0
    for _ in range(round(0.03 / 0.1 / DT_S)):
        arm.step(np.zeros(7))
    assert fingers.width_m == 0.08 and fingers.pressing
