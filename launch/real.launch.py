"""The stack on a real Panda or FR3: ``ros2 launch launch/real.launch.py cell:=my_lab.yaml``.

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
    "cell": "Name or path of the cell's file; required, measured as launch/cells/example_lab.yaml.",
    "robot": "panda or fr3: no cell of the other one is taken; empty: as the cell says.",
    "task": "What is on the table: no bundle of another task is taken; empty: any.",
    "force": "true: take a bundle of another task, camera or cell all the same.",
    "camera_serial": "Serial number of the wrist camera; empty takes the only one there is.",
    "policy": "false: nobody but a hand moves the arm.",
    "teleop": "gamepad, spacemouse or panel: a hand moves the arm, or takes it from the policy; empty: nobody's.",
    "device_path": "Which device of that kind; empty: the only one.",
    "record": "Folder of recorded episodes, begun and ended by d2ppo record; empty: nothing is recorded.",
}


def generate_launch_description() -> LaunchDescription:
    return describe("real", ARGUMENTS)
