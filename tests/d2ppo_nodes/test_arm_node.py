"""The arm node as a process: what is wrong at the start ends it with one line, and it never waits for ever."""

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
        ("workspace_min_m:=[1.0, 0.0, 0.0]", "workspace needs two corners with min < max"),
        ("linear_speed_m_s:=fast", "parameter linear_speed_m_s must be a number"),
    ],
)
def test_a_parameter_out_of_range_ends_the_node_with_one_line(ros_domain_id, parameter, line):
    output, code = run_node("robot_address:=127.0.0.1", parameter)
    assert code == 1
    assert_one_line(output, line)


def test_a_robot_that_does_not_answer_ends_the_node_with_what_to_check(ros_domain_id, robot_address):
    output, code = run_node(f"robot_address:={robot_address}", "connect_timeout_s:=0.5")
    assert code == 1
    assert_one_line(output, f"no robot answers at {robot_address}")
    assert "check power, network and that FCI is on" in output


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
