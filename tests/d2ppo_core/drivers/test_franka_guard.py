"""The guard brings the arm to rest when references stop, by the robot's own clock."""

import time

import numpy as np

from d2ppo_core.drivers.franka_guard import TrackingGuard
from d2ppo_core.geometry import RigidState

MOVING = RigidState(np.eye(4), np.array([0.2, 0.0, 0.0, 0.0, 0.0, 0.3]))


class Robot:
    """Keeps what it is told and when, by a clock that a test moves."""

    def __init__(self) -> None:
        self.now_ms, self.told = 1000, []

    def run(self, milliseconds: int) -> None:
        for _ in range(milliseconds // 10):
            self.now_ms += 10
            time.sleep(0.02)


def test_without_references_the_arm_comes_to_rest_and_the_next_one_takes_over():
    robot = Robot()
    guard = TrackingGuard(lambda r: robot.told.append((robot.now_ms, r)), lambda: robot.now_ms, 0.1)
    try:
        guard.track(MOVING)
        robot.run(100)
        assert len(robot.told) == 1, "a short silence is none"
        robot.run(400)
        speeds = [reference.twist[0] for _, reference in robot.told]
        assert guard.engaged == 1 and (np.diff(speeds) <= 1e-12).all() and speeds[-1] == 0.0
        assert 0.0 < guard.commanded.pose[0, 3] < 0.05, "0.2 m/s end within 5 cm"
        told = len(robot.told)
        robot.run(100)
        assert len(robot.told) == told, "at rest there is nothing to say"
        guard.track(MOVING)
        assert robot.told[-1][1] is MOVING is guard.commanded
    finally:
        guard.close()


def test_a_robot_that_is_paused_misses_nothing():
    robot = Robot()
    guard = TrackingGuard(lambda r: robot.told.append((robot.now_ms, r)), lambda: robot.now_ms, 0.1)
    try:
        guard.track(MOVING)
        time.sleep(0.4)
        assert guard.engaged == 0
    finally:
        guard.close()


def test_after_the_end_it_is_silent():
    robot = Robot()
    guard = TrackingGuard(lambda r: robot.told.append((robot.now_ms, r)), lambda: robot.now_ms, 0.1)
    guard.track(MOVING)
    guard.close()
    robot.run(200)
    assert len(robot.told) == 1
