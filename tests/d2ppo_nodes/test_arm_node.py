"""The arm node as a process: what is wrong at the start ends it with one line, and it never waits for ever."""

import signal
import subprocess
import sys

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (extra ros)")


@pytest.mark.parametrize(
    ("parameter", "line"),
    [
        ("stiffness_n_m:=1.0e9", "parameter stiffness_n_m must be a number in [10.0, 3000.0]"),
        ("reference_hz:=20", "parameter reference_hz must be a number in [100.0, 500.0], got 20"),
        ("home_q_rad:=[0.0, 1.0]", "parameter home_q_rad needs 7 numbers, got 2"),
        ("workspace_min_m:=[1.0, 0.0, 0.0]", "workspace"),
        ("gripper_force_n:=strong", "parameter gripper_force_n must be a number"),
        ("robot_address:=10.0.0.1", "parameter cell must name the cell of the robot at 10.0.0.1; see launch/cells"),
        ("cell:=moon", "there is no cell 'moon'; known: "),
        ("deadman:=perhaps", "parameter deadman must be true or false, got 'perhaps'"),
        ("speed_scale:=2.0", "speed_scale"),
        ("home_q_rad:=[0.0, 0.0, 0.0, 0.5, 0.0, 2.9, 0.0]", "pose home: joint 4 of a panda must lie in [-3.0718"),
        ("poses:='shelf: [0, 1]'", "pose shelf needs 7 joint angles in rad, got [0, 1]"),
    ],
)
def test_a_parameter_out_of_range_ends_the_node_with_one_line(ros_domain_id, parameter, line):
    output, code = run_node("robot_address:=127.0.0.1", parameter)
    assert code == 1
    assert_one_line(output, line)


def test_a_cell_of_another_robot_than_the_parameter_says_is_refused(ros_domain_id):
    output, code = run_node("robot_address:=127.0.0.1", "robot:=fr3", "cell:=sim_lift")
    assert code == 1
    assert_one_line(output, "parameter robot says fr3, the cell sim_lift a panda")


def test_a_robot_that_does_not_answer_ends_the_node_with_what_to_check(ros_domain_id, robot_address):
    output, code = run_node(f"robot_address:={robot_address}", "connect_timeout_s:=0.5")
    assert code == 1
    assert_one_line(output, f"no robot answers at {robot_address}")
    assert "check power, network, FCI in Desk" in output


def test_a_node_that_is_stopped_while_it_waits_for_its_robot_blames_nobody(ros_domain_id, robot_address):
    """When another node of the stack fails, this one is stopped: its robot is not the reason."""
    command = [sys.executable, "-m", "d2ppo_nodes.arm_node", "--ros-args", "-p", f"robot_address:={robot_address}"]
    process = subprocess.Popen(
        [*command, "-p", "connect_timeout_s:=60.0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    tries = next(line for line in process.stdout if "tries for 60 s" in line)
    assert f"no robot answers at {robot_address}" in tries
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60.0)
    assert process.returncode == 0 and "FATAL" not in output and "ERROR" not in output, output
    assert "stopped before it was ready: no robot answers" in output


def run_node(*parameters: str) -> tuple[str, int]:
    command = [sys.executable, "-m", "d2ppo_nodes.arm_node", "--ros-args"]
    for parameter in parameters:
        command += ["-p", parameter]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    return done.stdout, done.returncode


def assert_one_line(output: str, line: str) -> None:
    fatal = [text for text in output.splitlines() if "FATAL" in text]
    assert len(fatal) == 1 and line in fatal[0], output
    assert "Traceback" not in output
