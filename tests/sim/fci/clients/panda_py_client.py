"""panda-python's own robot: its C++ controllers and trajectories at 1 kHz, in a process of its own.

    python panda_py_client.py ADDRESS

Prints one JSON object.
"""

import json
import logging
import sys
import time

import numpy as np
import panda_py
from panda_py import controllers


def run(address):
    arm = panda_py.Panda(address)
    result = {"to_start": arm.move_to_start(), "start": np.array(arm.get_state().q).tolist()}
    pose = arm.get_pose()
    pose[2, 3] += 0.05
    result["to_pose"] = arm.move_to_pose(pose)
    result["pose_error_m"] = float(np.linalg.norm(arm.get_pose()[:3, 3] - pose[:3, 3]))
    controller = controllers.CartesianImpedance()
    arm.start_controller(controller)
    here, turn = arm.get_position(), arm.get_orientation()
    began = arm.get_state().time.to_sec()
    while (t := arm.get_state().time.to_sec() - began) < 1.5:
        controller.set_control(here + [0.0, 0.03 * np.sin(np.pi * min(t, 0.5)), 0.0], turn)
        time.sleep(0.001)
    result["impedance_y_m"] = float(arm.get_position()[1] - here[1])
    arm.stop_controller()
    velocity = controllers.IntegratedVelocity()
    arm.start_controller(velocity)
    q = np.array(arm.get_state().q)
    began = arm.get_state().time.to_sec()
    while arm.get_state().time.to_sec() - began < 0.5:
        velocity.set_control(np.array([0.1, 0, 0, 0, 0, 0, 0]))
        time.sleep(0.001)
    result["integrated_q1_rad"] = float(arm.get_state().q[0] - q[0])
    arm.stop_controller()
    return result


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    print(json.dumps(run(sys.argv[1])))
