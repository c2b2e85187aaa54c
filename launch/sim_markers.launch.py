"""The simulated stack that sees by printed markers: ``ros2 launch launch/sim_markers.launch.py [argument:=value ...]``.

The list of nodes is stacks/sim_markers.yaml, which ``d2ppo up sim_markers`` starts as well.
"""

import sys
from pathlib import Path

from launch import LaunchDescription

sys.path.insert(0, str(Path(__file__).parent))
from stack_launch import describe  # noqa: E402

ARGUMENTS = {
    "task": "Task with one arm: its world, cell and camera.",
    "bundle": "State-policy bundle: the name of a committed one, or a path.",
    "markers": "Which marker is where on which object: a name in launch/markers, or a path.",
    "robot_address": "Loopback address of the simulated robot; two stacks beside each other take two.",
    "robot": "fr3 or panda: which robot stands in the world; names on the graph follow it.",
    "real_time": "true: pace the world with the wall clock; false: as fast as the machine can.",
}


def generate_launch_description() -> LaunchDescription:
    return describe("sim_markers", ARGUMENTS)
