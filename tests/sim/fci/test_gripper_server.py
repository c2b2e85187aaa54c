"""The real gripper client, and the whole way from grasp to lift."""

import time

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

franky = pytest.importorskip("franky", reason="needs franky-control (extra franka)")

GRIP_SITE_BEHIND_TCP_M = 0.0069
BASE_IN_WORLD_M = np.array([-0.56, 0.0, 0.912])


def test_hand_homes_moves_and_grasps_nothing(robot):
    hand = franky.Gripper(robot.address)
    assert hand.width == pytest.approx(0.0417, abs=1e-3)
    assert hand.homing() and hand.width == pytest.approx(0.08, abs=1e-3)
    began = time.monotonic()
    assert hand.move(0.03, 0.1) and hand.width == pytest.approx(0.03, abs=1e-3)
    assert 0.4 < time.monotonic() - began < 1.5  # 5 cm at 0.1 m/s
    assert not hand.grasp(0.04, 0.1, 20.0, 0.005, 0.005)
    assert not hand.is_grasped


def test_stop_aborts_the_running_command(robot):
    hand = franky.Gripper(robot.address)
    running = hand.move_async(0.08, 0.02)
    time.sleep(0.3)
    assert hand.stop()
    with pytest.raises(franky.CommandException, match="aborted"):
        running.get()
    assert 0.043 < hand.width < 0.06


@pytest.mark.parametrize("width", [float("nan"), float("inf")])
def test_what_is_no_width_gets_an_answer_and_the_hand_goes_on(robot, width):
    hand = franky.Gripper(robot.address)
    running = hand.move_async(width, 0.1)
    assert running.wait(5.0), "the hand answers"
    if np.isnan(width):
        with pytest.raises(franky.CommandException, match="failed"):
            running.get()
    assert hand.move(0.03, 0.1) and hand.width == pytest.approx(0.03, abs=1e-3)


def test_the_hands_clock_is_that_of_the_robot(robot):
    arm = franky.Robot(robot.address, realtime_config=franky.RealtimeConfig.Ignore)
    hand = franky.Gripper(robot.address)

    def elapsed_ms(seconds):
        before = hand.state.time.to_msec(), arm.state.time.to_msec()
        time.sleep(seconds)
        return hand.state.time.to_msec() - before[0], arm.state.time.to_msec() - before[1]

    of_hand, of_arm = elapsed_ms(1.0)
    assert of_hand == pytest.approx(of_arm, abs=100)  # ms: a state of the hand every 10


def test_cube_is_grasped_and_lifted_and_the_predicate_says_so(robot):
    arm = franky.Robot(robot.address, realtime_config=franky.RealtimeConfig.Ignore)
    arm.relative_dynamics_factor = franky.RelativeDynamicsFactor(0.4, 0.04, 0.04)
    arm.set_collision_behavior(40.0, 40.0)
    hand = franky.Gripper(robot.address)
    world = robot.world()
    assert not world.is_success()
    x, y, z, qw, _, _, qz = world.data.joint("cube_joint0").qpos
    quarter = np.pi / 2
    yaw = (2 * np.arctan2(qz, qw) + quarter / 2) % quarter - quarter / 2
    orientation = (Rotation.from_euler("z", yaw) * Rotation.from_quat([1, 0, 0, 0])).as_quat()
    cube = np.array([x, y, z]) - BASE_IN_WORLD_M

    def go(height_m):
        target = cube + [0.0, 0.0, height_m + GRIP_SITE_BEHIND_TCP_M - 0.0138]
        arm.move(franky.CartesianMotion(franky.Affine(target, orientation)))

    assert hand.open(0.1)
    go(0.1)
    go(0.0)
    assert hand.grasp(0.04, 0.1, 30.0, 0.01, 0.01)
    assert hand.is_grasped
    go(0.1)
    assert robot.world().is_success()
    weight_n = world.model.body("cube_main").mass[0] * 9.81
    assert arm.state.O_F_ext_hat_K[2] == pytest.approx(weight_n, abs=0.3)
    hand.open(0.1)
    time.sleep(0.4)
    assert not hand.is_grasped
    assert not robot.world().is_success()
