"""The real Franka client against the served world."""

import signal
import socket
import struct
import subprocess
import sys
import time

import numpy as np
import pytest

from d2ppo_core.errors import WorldError
from sim.fci.connection import listen
from sim.fci.hand import F_T_EE
from sim.fci.robot_server import RobotServer
from sim.tasks import task_named
from sim.world.snapshots import SnapshotSubscriber
from sim.world.world import World

franky = pytest.importorskip("franky", reason="needs franky-control (extra franka)")

HOME_Q_RAD = np.array(task_named("lift").home_q_rad)
DOWN_XYZW = [1.0, 0.0, 0.0, 0.0]
CLIENT_THAT_DIES = """
import franky, os, sys, time
robot = franky.Robot(sys.argv[1], realtime_config=franky.RealtimeConfig.Ignore)
robot.relative_dynamics_factor = 0.05
robot.move(franky.CartesianMotion(franky.Affine([0.1, 0.0, 0.0]), franky.ReferenceType.Relative), asynchronous=True)
time.sleep(0.3)
os._exit(9)
"""


CLIENT_THAT_FREEZES = """
import franky, sys, time
robot = franky.Robot(sys.argv[1], realtime_config=franky.RealtimeConfig.Ignore)
tracker = franky.CartesianImpedanceTracker(robot, translational_stiffness=600.0)
print("tracking", flush=True)
try:
    while tracker.is_running:
        time.sleep(0.01)
    robot.join_motion()
except franky.ControlException as error:
    print(error, flush=True)
"""


def connect(address):
    robot = franky.Robot(address, realtime_config=franky.RealtimeConfig.Ignore)
    robot.relative_dynamics_factor = franky.RelativeDynamicsFactor(0.2, 0.08, 0.08)
    return robot


def test_client_and_world_agree_on_pose_and_gravity(robot):
    client = connect(robot.address)
    state = client.state
    assert np.allclose(state.q, HOME_Q_RAD, atol=1e-4)
    modelled = client.model.pose(franky.Frame.EndEffector, state).matrix
    assert np.allclose(modelled, state.O_T_EE.matrix, atol=1e-6)
    world = robot.world()
    assert np.allclose(client.model.gravity(state), world.gravity_nm, atol=1e-3)  # Nm
    assert np.allclose(np.linalg.inv(state.F_T_EE.matrix) @ F_T_EE, np.eye(4), atol=1e-6)


def test_joint_motion_arrives_and_holds(robot):
    client = connect(robot.address)
    target = HOME_Q_RAD + [0.2, 0.1, -0.1, 0.1, 0.1, -0.1, 0.2]
    client.move(franky.JointMotion(target))
    assert np.allclose(client.state.q, target, atol=2e-3)  # rad
    time.sleep(0.3)
    assert np.allclose(client.state.q, target, atol=2e-3)
    assert np.abs(client.state.dq).max() < 1e-3


def test_cartesian_motion_arrives(robot):
    client = connect(robot.address)
    client.move(franky.CartesianMotion(franky.Affine([0.5, 0.1, 0.15], DOWN_XYZW)))
    assert np.allclose(client.state.O_T_EE.translation, [0.5, 0.1, 0.15], atol=1e-3)  # m
    assert np.allclose(client.state.O_T_EE.matrix[:3, 2], [0, 0, -1], atol=5e-3)


def test_velocity_motions_move_the_arm_as_far_as_they_should(robot):
    client = connect(robot.address)
    before = client.state
    client.move(franky.CartesianVelocityMotion(franky.Twist([0.0, 0.0, 0.05]), duration=franky.Duration(400)))
    moved = client.state.O_T_EE.translation - before.O_T_EE.translation
    assert 0.012 < moved[2] < 0.025 and np.abs(moved[:2]).max() < 1e-3  # m
    waypoints = [
        franky.JointVelocityWaypoint([0.1] * 7, hold_target_duration=franky.Duration(300)),
        franky.JointVelocityWaypoint([0.0] * 7),
    ]
    q = np.array(client.state.q)
    client.move(franky.JointVelocityWaypointMotion(waypoints))
    assert np.all(np.array(client.state.q) - q > 0.02)  # rad


def test_impedance_tracker_follows_a_moving_target(robot):
    client = connect(robot.address)
    start = client.current_pose.end_effector_pose
    errors_m, began_ms = [], client.state.time.to_msec()
    tracker = franky.CartesianImpedanceTracker(
        client, translational_stiffness=1500.0, rotational_stiffness=60.0, period=0.008
    )
    with tracker:
        while tracker.tick():
            state = client.state
            t = (state.time.to_msec() - began_ms) * 1e-3
            if t > 3.0:
                break
            w = np.pi
            shape = np.array([0.0, 1 - np.cos(w * t), 0.5 * (1 - np.cos(w * t))])
            rate = w * np.sin(w * t) * np.array([0.0, 1.0, 0.5])
            target = start.translation + 0.05 * shape
            tracker.set_target(franky.Affine(target, start.quaternion), franky.Twist(0.05 * rate, np.zeros(3)))
            errors_m.append(np.linalg.norm(state.O_T_EE.translation - target))
    assert np.sqrt(np.mean(np.square(errors_m))) < 8e-3  # m, at up to 0.18 m/s


def test_torque_jump_is_a_reflex_and_recovery_clears_it(robot):
    client = connect(robot.address)
    motion = franky.CartesianImpedanceTrackingMotion(translational_stiffness=3000.0, max_delta_tau=50.0)
    pose = client.current_pose.end_effector_pose
    motion.set_reference(franky.CartesianReference(target=franky.Affine([0.0, 0.1, 0.0]) * pose))
    with pytest.raises(franky.ControlException, match="controller_torque_discontinuity"):
        client.move(motion, asynchronous=True)
        client.join_motion(timeout=30.0)
    assert client.state.robot_mode == franky.RobotMode.Reflex
    assert client.recover_from_errors()
    assert client.state.robot_mode == franky.RobotMode.Idle
    client.move(franky.JointMotion(HOME_Q_RAD))


def test_press_on_the_table_is_felt_and_stops_the_arm(robot):
    client = connect(robot.address)
    client.set_collision_behavior(40.0, 15.0)
    client.move(franky.CartesianMotion(franky.Affine([0.5, 0.15, 0.0], DOWN_XYZW)))
    with pytest.raises(franky.ControlException, match="cartesian_reflex"):
        client.move(franky.CartesianMotion(franky.Affine([0.5, 0.15, -0.2], DOWN_XYZW)))


def test_client_that_dies_in_a_motion_leaves_a_robot_that_holds_and_serves_the_next(robot):
    died = subprocess.run([sys.executable, "-c", CLIENT_THAT_DIES, robot.address], timeout=60)
    assert died.returncode == 9
    client = connect(robot.address)
    time.sleep(0.3)
    q = np.array(client.state.q)
    assert not np.allclose(q, HOME_Q_RAD, atol=1e-3)
    time.sleep(0.3)
    assert np.allclose(client.state.q, q, atol=1e-4)
    client.move(franky.JointMotion(HOME_Q_RAD))
    assert np.allclose(client.state.q, HOME_Q_RAD, atol=2e-3)


def test_occupied_port_says_by_whom_and_what_to_do(robot):
    second = subprocess.run(
        [sys.executable, "-m", "d2ppo_core.cli.main", "fci-server", "--address", robot.address],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert second.returncode == 2
    assert len(second.stderr.splitlines()) == 1
    assert f"on {robot.address} is in use by" in second.stderr
    assert f"(process {robot.process.pid})" in second.stderr
    assert "choose another robot_address" in second.stderr


def test_address_of_another_machine_is_refused_with_the_address():
    with pytest.raises(WorldError, match="cannot serve on 192.0.2.1:1337"):
        listen("192.0.2.1", 1337, exposed=True)


def test_nonsense_on_the_wire_drops_that_client_and_the_next_is_served(robot):

    for nonsense in (b"GET / HTTP/1.1\r\n\r\n", struct.pack("<III", 1, 1, 12), struct.pack("<III", 0, 1, 13) + b"x"):
        with socket.create_connection((robot.address, 1337), timeout=5.0) as client:
            client.sendall(nonsense)
            client.shutdown(socket.SHUT_WR)
            assert client.recv(100) == b""
    assert np.allclose(connect(robot.address).state.q, HOME_Q_RAD, atol=1e-4)


def test_second_client_is_turned_away_while_the_first_stays(robot):
    first = connect(robot.address)
    with pytest.raises(franky.NetworkException):
        connect(robot.address)
    assert np.allclose(first.state.q, HOME_Q_RAD, atol=1e-4)


def test_frozen_client_is_waited_for_then_the_arm_stops_itself(robot):
    command = [sys.executable, "-c", CLIENT_THAT_FREEZES, robot.address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout.readline() == "tracking\n"
        time.sleep(0.3)
        client.send_signal(signal.SIGSTOP)
        time.sleep(0.3)
        frozen_at = robot.channel.newest(timeout_s=0.1)
        assert robot.channel.newest(timeout_s=0.2) is None, "lock-step: the world waits for the command"
        assert robot.channel.newest(timeout_s=3.0) is not None, "the patience is bounded"
        time.sleep(0.2)
        client.send_signal(signal.SIGCONT)
        assert "communication_constraints_violation" in client.stdout.readline()
    assert frozen_at is not None
    next_client = connect(robot.address)
    assert next_client.state.robot_mode == franky.RobotMode.Reflex
    assert next_client.recover_from_errors()
    next_client.move(franky.JointMotion(HOME_Q_RAD))


def test_a_paced_world_does_not_wait_for_a_frozen_client(robot_address, start):
    channel, server = SnapshotSubscriber(robot_address), start(robot_address, "--paced")
    command = [sys.executable, "-c", CLIENT_THAT_FREEZES, robot_address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
        client.stdout.readline()
        time.sleep(0.3)
        client.send_signal(signal.SIGSTOP)
        time.sleep(0.2)
        before = channel.newest(timeout_s=0.5)
        later = channel.newest(timeout_s=0.5)
        assert before is not None and later is not None and later.stamp_ns > before.stamp_ns
        client.send_signal(signal.SIGCONT)
        assert "communication_constraints_violation" in client.stdout.readline()
    server.terminate()
    assert server.wait(timeout=60.0) == 0
    channel.close()


def test_robot_that_speaks_the_pandas_version_says_so(robot_address, start):
    process = start(robot_address, "--robot-version", "5")
    try:
        with pytest.raises(franky.IncompatibleVersionException, match="server version: 5, library version: 10"):
            connect(robot_address)
    finally:
        process.terminate()
    assert process.wait(timeout=60.0) == 0


def test_a_call_that_came_too_late_does_not_happen_afterwards(robot_address):
    server, done = RobotServer(World(task_named("lift")), robot_address), []
    try:
        with pytest.raises(TimeoutError):
            server.call(lambda: done.append("late"), timeout_s=0.01)
        server.run_cycle()
        assert done == []
    finally:
        server.close()
