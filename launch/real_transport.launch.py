"""Two real Pandas or FR3s as one: ``ros2 launch launch/real_transport.launch.py left_address:=172.16.0.2``.

The list of nodes is stacks/real_transport.yaml, which ``d2ppo up real_transport`` starts as well.
"""

import sys
from pathlib import Path

from launch import LaunchDescription

sys.path.insert(0, str(Path(__file__).parent))
from stack_launch import describe  # noqa: E402

ARGUMENTS = {
    "task": "No bundle of another task is taken.",
    "bundle": "Bundle of the policy that moves both arms: the name of a committed one, or a path; empty: none runs.",
    "left_namespace": "Namespace of the left arm, also the prefix of its frame.",
    "right_namespace": "Namespace of the right arm, also the prefix of its frame.",
    "left_address": "Address of the left robot's control box.",
    "right_address": "Address of the right robot's control box.",
    "left_camera_serial": "Serial number of the camera at the left robot's shoulder.",
    "right_camera_serial": "Serial number of the camera at the right robot's shoulder.",
}


def generate_launch_description() -> LaunchDescription:
    return describe("real_transport", ARGUMENTS)
