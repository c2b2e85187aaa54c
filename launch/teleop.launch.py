"""A hand beside a stack that runs: ``ros2 launch launch/teleop.launch.py [argument:=value ...]``.

The list of nodes is stacks/teleop.yaml, which ``d2ppo up teleop`` starts as well.
"""

import sys
from pathlib import Path

from launch import LaunchDescription

sys.path.insert(0, str(Path(__file__).parent))
from stack_launch import describe  # noqa: E402

ARGUMENTS = {
    "device": "gamepad, spacemouse or panel, or keyboard with the path of a terminal.",
    "device_path": "Which device of that kind; empty: the only one.",
    "frame": "base or tool: in which the device moves the hand; a button changes it.",
    "use_sim_time": "true: beside a simulated stack.",
}


def generate_launch_description() -> LaunchDescription:
    return describe("teleop", ARGUMENTS)
