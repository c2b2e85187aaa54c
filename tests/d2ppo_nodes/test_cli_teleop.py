"""How ``d2ppo teleop`` and ``d2ppo panel`` find their arm."""

import subprocess
import sys

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (extra ros)")

from d2ppo_nodes.cli.teleop import FoundArm, find_arm  # noqa: E402

pytestmark = [pytest.mark.timeout(120), pytest.mark.slow]


def test_a_hand_presses_the_emergency_stop_that_its_arm_hears_though_it_is_a_pairs(ros_domain_id, robot_address):
    server = [sys.executable, "-m", "d2ppo_core.cli.main", "fci-server", "--address", robot_address]
    node = [sys.executable, "-m", "d2ppo_nodes.arm_node", "--ros-args", "-r", "__ns:=/left", "-r", "estop:=/pair/estop"]
    node += ["-p", f"robot_address:={robot_address}", "-p", "connect_timeout_s:=30.0"]
    processes = [subprocess.Popen([*server, "--backend", "kinematic"]), subprocess.Popen(node)]
    try:
        found = find_arm(None, ros_domain_id)
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(20)
    assert found == FoundArm(namespace="left", estop="/pair/estop", in_simulation=False)
