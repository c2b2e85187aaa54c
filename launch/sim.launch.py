"""The whole stack with MuJoCo as the world: ``ros2 launch launch/sim.launch.py [argument:=value ...]``.

The list of nodes is stacks/sim.yaml, which ``d2ppo up sim`` starts as well.
"""

import sys
from pathlib import Path

from launch import LaunchDescription

sys.path.insert(0, str(Path(__file__).parent))
from stack_launch import describe  # noqa: E402

ARGUMENTS = {
    "task": "Task: its world, cell, cameras and policy.",
    "bundle": "Policy bundle: the name of a committed one, or a path; empty: the task's.",
    "force": "true: take a bundle of another task, camera or cell all the same.",
    "robot_address": "Loopback address of the simulated robot; two stacks beside each other take two.",
    "robot": "fr3 or panda: which robot stands in the world; names on the graph follow it.",
    "protocol": "Robot-server version: auto (the robot's own: 10 of an FR3, 5 of a Panda), 5 or 10.",
    "cell": "Name or path of a cell's file, to rehearse in it; empty: the task's for this robot.",
    "real_time": "true: pace the world with the wall clock; false: as fast as the machine can.",
    "policy": "false: nobody but a hand moves the arm.",
    "teleop": "gamepad, spacemouse or panel: a hand moves the arm, or takes it from the policy; empty: nobody's.",
    "device_path": "Which device of that kind; empty: the only one.",
    "record": "Folder of recorded episodes, begun and ended by d2ppo record; empty: nothing is recorded.",
    "stepping": "real_time, or deterministic: the world waits for all nodes, and a seed gives the same motion again.",
}


def generate_launch_description() -> LaunchDescription:
    return describe("sim", ARGUMENTS)
