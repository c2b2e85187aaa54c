"""Moves the arm sideways for ever and says so once it does: python moving_client.py ADDRESS CLIENT."""

import sys
import time

import numpy as np

from d2ppo_core.drivers.clients import franka_drivers
from d2ppo_core.drivers.franka import FrankaConfig, GripperConfig
from d2ppo_core.errors import RobotUnreachableError
from d2ppo_core.geometry import RigidState

arm, _ = franka_drivers(FrankaConfig(address=sys.argv[1], client=sys.argv[2]), GripperConfig(address=sys.argv[1]))
while True:
    try:
        arm.connect()
        break
    except RobotUnreachableError:
        time.sleep(0.3)
arm.start_tracking()
pose, begun = arm.read().measured.pose.copy(), time.monotonic()
start_m = pose[1, 3]
while True:
    passed_s = time.monotonic() - begun
    pose[1, 3] = start_m + 0.1 * passed_s
    arm.track(RigidState(pose, np.array([0.0, 0.1, 0.0, 0.0, 0.0, 0.0])))
    if passed_s > 0.5:
        print("moving", flush=True)
    time.sleep(0.008)
