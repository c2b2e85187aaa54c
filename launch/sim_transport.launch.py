"""Two arms with MuJoCo as the world: ``ros2 launch launch/sim_transport.launch.py [argument:=value ...]``.

The list of nodes is stacks/sim_transport.yaml, which ``d2ppo up sim_transport`` starts as well.
"""

import sys
from pathlib import Path

from launch import LaunchDescription

sys.path.insert(0, str(Path(__file__).parent))
from stack_launch import describe  # noqa: E402

ARGUMENTS = {
    "task": "Task with two arms.",
    "bundle": "Bundle of the policy that moves both arms: the name of a committed one, or a path; empty: none runs.",
    "force": "true: take a bundle of another task, camera or cell all the same.",
    "cameras": "false: no cameras; a state policy needs none.",
    "left_namespace": "Namespace of the left arm, also the prefix of its frame.",
    "right_namespace": "Namespace of the right arm, also the prefix of its frame.",
    "left_address": "Loopback address of the left simulated robot.",
    "right_address": "Loopback address of the right simulated robot; must be another one.",
    "robot": "fr3 or panda: which robots stand in the world; names on the graph follow it.",
    "protocol": "Robot-server version: auto (the robots' own: 10 of an FR3, 5 of a Panda), 5 or 10.",
    "real_time": "true: pace the world with the wall clock; false: as fast as the machine can.",
    "stepping": "real_time, or deterministic: the world waits for all nodes, and a seed gives the same motion again.",
}


def generate_launch_description() -> LaunchDescription:
    return describe("sim_transport", ARGUMENTS)
