"""One franky program for any FR3: prints where the robot is after each motion, as JSON.

python franky_client.py ADDRESS
"""

import json
import sys

import franky
import numpy as np

READY_RAD = [0.0, -0.785398, 0.0, -2.356194, 0.0, 1.570796, 0.785398]
DOWN_XYZW = [1.0, 0.0, 0.0, 0.0]


def motions():
    """Fresh motions: each may be used once."""
    return {
        "joint": franky.JointMotion(np.array(READY_RAD) + [0.2, 0.1, -0.1, 0.1, 0.1, -0.1, 0.2]),
        "joint waypoints": franky.JointWaypointMotion(
            [franky.JointWaypoint(np.array(READY_RAD) + 0.1), franky.JointWaypoint(np.array(READY_RAD))]
        ),
        "pose": franky.CartesianMotion(franky.Affine([0.45, 0.1, 0.4], DOWN_XYZW)),
        "pose, relative": franky.CartesianMotion(franky.Affine([0.0, -0.1, 0.0]), franky.ReferenceType.Relative),
        "joint velocity": franky.JointVelocityWaypointMotion(
            [
                franky.JointVelocityWaypoint([0.1] * 7, hold_target_duration=franky.Duration(300)),
                franky.JointVelocityWaypoint([0.0] * 7),
            ]
        ),
        "twist": franky.CartesianVelocityWaypointMotion(
            [
                franky.CartesianVelocityWaypoint(
                    franky.Twist([0.0, 0.0, 0.05]), hold_target_duration=franky.Duration(300)
                ),
                franky.CartesianVelocityWaypoint(franky.Twist([0.0, 0.0, 0.0])),
            ]
        ),
    }


def main(address):
    robot = franky.Robot(address, realtime_config=franky.RealtimeConfig.Ignore)
    robot.relative_dynamics_factor = franky.RelativeDynamicsFactor(0.2, 0.04, 0.04)
    robot.set_collision_behavior(50.0, 60.0)
    robot.move(franky.JointMotion(READY_RAD))
    result = {}
    for name, motion in motions().items():
        before = robot.state
        robot.move(motion)
        after = robot.state
        result[name] = {
            "q": np.asarray(after.q).tolist(),
            "moved": (after.O_T_EE.translation - before.O_T_EE.translation).tolist(),
        }
    hand = franky.Gripper(address)
    result["hand"] = {"homing": hand.homing(), "move": hand.move(0.03, 0.05), "width": hand.width}
    result["hand"]["missed"] = hand.grasp(0.06, 0.05, 20.0, 0.005, 0.005)
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1])
