"""How a node's process ends: with its starter, with a thread that hangs, with arguments that ROS does not know."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (extra ros)")

from d2ppo_core.stack.starter import STARTER, birth_of  # noqa: E402

pytestmark = pytest.mark.timeout(120)

POSES = "away: [0.6, -0.6, 0.0, -2.2, 0.0, 1.8, 0.785]"
STARTER_PROGRAM = """
import os, subprocess, sys
node = subprocess.Popen(sys.argv[1:], env={**os.environ, "D2PPO_STARTER_PID": str(os.getpid())}, start_new_session=True)
print(node.pid, flush=True)
node.wait()
"""
HANGING = """
import sys, threading, time
import franky
from d2ppo_nodes.running import end_without_hanging_threads
robot = franky.Robot(sys.argv[1], realtime_config=franky.RealtimeConfig.Ignore)
def read():
    while True:
        robot.state
threading.Thread(target=read, name="reader", daemon=True).start()
time.sleep(0.2)
end_without_hanging_threads(3)
"""


@pytest.fixture
def robot(robot_address: str) -> Iterator[str]:
    """A robot without ROS."""
    franky = pytest.importorskip("franky", reason="needs franky-control (extra franka)")
    process = subprocess.Popen([sys.executable, "-m", "d2ppo_core.cli.main", "fci-server", "--address", robot_address])
    deadline = time.monotonic() + 30.0
    while True:
        try:
            franky.Robot(robot_address, realtime_config=franky.RealtimeConfig.Ignore)
            break
        except Exception:
            assert time.monotonic() < deadline
            time.sleep(0.2)
    yield robot_address
    process.terminate()
    process.wait(10)


def arm_command(address: str) -> list[str]:
    command = [sys.executable, "-m", "d2ppo_nodes.arm_node", "--ros-args", "-r", "__ns:=/test_running"]
    return [*command, "-p", f"robot_address:={address}", "-p", "cell:=sim_lift", "-p", f"poses:='{POSES}'"]


def move(domain_id: int) -> None:
    """Send the arm somewhere, and see it move."""
    from d2ppo_interfaces.srv import GoTo
    from d2ppo_nodes.client import StackClient

    client = StackClient("/test_running", domain_id)
    try:
        client.spin_until(lambda: client.arm, 40.0, "the arm node")
        client._call(GoTo, "arm/go_to", GoTo.Request(name="away"), 10.0)
        client.spin_until(lambda: max(abs(x) for x in client.arm.dq_rad_s) > 0.05, 10.0, "the arm to move")
    finally:
        client.close()


def test_when_the_starter_is_killed_the_arm_comes_to_rest_and_its_node_ends(robot, ros_domain_id):
    import franky

    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER_PROGRAM, *arm_command(robot)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert starter.stdout is not None
    node = int(starter.stdout.readline())
    try:
        move(ros_domain_id)
    finally:
        starter.kill()
    output = starter.stdout.read()  # ends with the node
    starter.wait()
    assert f"who started this node (process {starter.pid}) is gone: it stops" in output
    assert "Traceback" not in output and birth_of(node) is None
    state = franky.Robot(robot, realtime_config=franky.RealtimeConfig.Ignore).state
    assert state.robot_mode == franky.RobotMode.Idle, "stopped smoothly, not by a reflex for want of commands"
    assert max(abs(state.dq)) < 0.01


def test_a_node_that_was_run_by_hand_outlives_the_shell_that_ran_it(robot, ros_domain_id):
    environment = {key: value for key, value in os.environ.items() if key != STARTER}
    shell = subprocess.run(
        ["sh", "-c", 'nohup "$@" >/dev/null 2>&1 & echo $!', "sh", *arm_command(robot)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    node = int(shell.stdout)
    try:
        move(ros_domain_id)
        os.kill(node, signal.SIGHUP)
        time.sleep(1.0)
        assert birth_of(node) is not None, "nohup asked to be left alone"
    finally:
        os.kill(node, signal.SIGTERM)
    deadline = time.monotonic() + 10.0
    while birth_of(node) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_thread_that_hangs_in_a_library_does_not_abort_the_end(robot):
    """The interpreter would end it in the middle of C++: "terminate called without an active exception"."""
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", HANGING, robot], capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (3, "ended while reader did not answer\n")


@pytest.mark.parametrize("arguments", [["-p", "use_sim_time:=perhaps"], ["--no-such-argument"], ["-p", "nice:=[1]"]])
def test_arguments_that_ros_does_not_take_are_one_line(ros_domain_id, arguments):
    command = [sys.executable, "-m", "d2ppo_nodes.camera_node", "--ros-args", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert "Traceback" not in said and sum("FATAL" in line for line in said.splitlines()) == 1, said
