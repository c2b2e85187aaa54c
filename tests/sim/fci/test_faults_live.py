"""Faults as franky sees them: what a motion survives, what ends it, and what the hand does."""

import time

import numpy as np
import pytest

franky = pytest.importorskip("franky", reason="needs franky-control (extra franka)")


def connect(address):
    robot = franky.Robot(address, realtime_config=franky.RealtimeConfig.Ignore)
    robot.relative_dynamics_factor = franky.RelativeDynamicsFactor(0.2, 0.05, 0.05)
    return robot


def seconds_of(client):
    return client.state.time.to_msec() * 1e-3


def turn(client, angle_rad):
    """A motion of the first joint."""
    return franky.JointMotion(np.array(client.state.q) + angle_rad * np.eye(7)[0])


def wait(client, seconds):
    """Until this much of the robot's time has gone by."""
    end = seconds_of(client) + seconds
    while seconds_of(client) < end:
        time.sleep(2e-3)


@pytest.mark.parametrize(
    ("fault", "rate"), [("lost_commands 1.0 0.3", 0.7), ("reordered_commands 1.0", 0.5), ("late_commands 1.0 5", 1.0)]
)
def test_torque_control_survives_a_bad_network_and_sees_it_in_the_success_rate(robot, fault, rate):
    client = connect(robot.address)
    with franky.CartesianImpedanceTracker(client, translational_stiffness=600.0) as tracker:
        wait(client, 0.2)
        assert client.state.control_command_success_rate == pytest.approx(1.0)
        robot.inject(fault)
        wait(client, 0.3)
        assert client.state.control_command_success_rate == pytest.approx(rate, abs=0.2)
        wait(client, 0.9)
        assert tracker.is_running
        assert client.state.control_command_success_rate == pytest.approx(1.0)


def test_a_frozen_state_shows_yesterdays_arm_under_todays_clock(robot):
    client = connect(robot.address)
    robot.inject("state_frozen 0.5")
    wait(client, 0.05)
    before, began = np.array(client.state.q), seconds_of(client)
    robot.inject("guiding")
    wait(client, 0.2)
    assert np.array_equal(client.state.q, before) and client.state.robot_mode == franky.RobotMode.Idle
    wait(client, 0.4)
    assert client.state.robot_mode == franky.RobotMode.Guiding and seconds_of(client) > began + 0.5


def test_the_robots_clock_jumps(robot):
    client = connect(robot.address)
    before = seconds_of(client)
    robot.inject("clock_jump 0 60")
    wait(client, 0.1)
    assert 60.0 < seconds_of(client) - before < 70.0
    client.move(turn(client, 0.1))


def test_a_short_cut_of_the_network_is_survived_at_rest_and_ends_a_motion(robot):
    client = connect(robot.address)
    robot.inject("network_cut 0.4")
    time.sleep(0.6)
    q = np.array(client.state.q)
    client.move(turn(client, 0.3), asynchronous=True)
    wait(client, 0.3)
    robot.inject("network_cut 0.3")
    with pytest.raises(franky.ControlException, match="communication_constraints_violation"):
        client.join_motion(timeout=30.0)
    assert client.recover_from_errors()
    client.move(franky.JointMotion(q))


def test_a_longer_cut_ends_the_connection_and_the_next_one_finds_a_robot_in_reflex(robot):
    client = connect(robot.address)
    client.move(turn(client, 0.3), asynchronous=True)
    wait(client, 0.2)
    robot.inject("network_cut 2.0")
    with pytest.raises(franky.NetworkException, match="(?i)timeout"):
        client.join_motion(timeout=30.0)
    del client
    for _ in range(50):
        try:
            client = connect(robot.address)
            break
        except franky.NetworkException:
            time.sleep(0.2)
    assert client.state.robot_mode == franky.RobotMode.Reflex
    assert client.recover_from_errors()


def test_a_slow_hand_takes_its_time_and_a_held_one_gives_up(robot):
    client, hand = connect(robot.address), franky.Gripper(robot.address)
    robot.inject("gripper_slow 0 0.2")
    began = seconds_of(client)
    assert hand.move(0.06, 0.1)
    assert seconds_of(client) - began > 0.8  # 2 cm at a fifth of 0.1 m/s
    robot.inject("clear")
    robot.inject("gripper_blocked")
    assert not hand.move(0.0, 0.1)
    assert hand.width == pytest.approx(0.06, abs=1e-3)
    robot.inject("clear")
    assert hand.move(0.0, 0.1)


def test_help_lists_the_faults_and_nonsense_is_answered(robot):
    assert robot.inject("help").startswith("lost_commands: commands never arrive")
