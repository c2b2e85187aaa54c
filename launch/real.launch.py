"""The stack on a real Panda or FR3: ``ros2 launch launch/real.launch.py robot_address:=172.16.0.2``.

The list of nodes is stacks/real.yaml, which ``d2ppo up real`` starts as well.
"""

import sys
from pathlib import Path

from launch import LaunchDescription

sys.path.insert(0, str(Path(__file__).parent))
from stack_launch import describe  # noqa: E402

ARGUMENTS = {
    "bundle": "Policy bundle: the name of a committed one, or a path.",
    "robot_address": "Address of the robot's control box.",
    "camera_serial": "Serial number of the wrist camera; empty takes the only one there is.",
}


def generate_launch_description() -> LaunchDescription:
    return describe("real", ARGUMENTS)
