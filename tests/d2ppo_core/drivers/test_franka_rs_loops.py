"""What the loops of franka-rs are told: gains, budgets, targets, and how one ends; franka is a stand-in."""

import threading
import weakref
from types import SimpleNamespace

import numpy as np
import pytest

from d2ppo_core.drivers.franka_config import FrankaConfig
from d2ppo_core.drivers.franka_rs_loops import Ending, JointLoop, TrackingLoop
from d2ppo_core.geometry import RigidState
from d2ppo_core.runtime.safety.robots import FR3, PANDA

CONFIG = FrankaConfig(address="127.0.0.1", stiffness_n_m=1000.0, stiffness_nm_rad=50.0, max_force_n=20.0)


class Loop:
    """Keeps what it is told."""

    def __init__(self, **parameters) -> None:
        self.parameters, self.targets, self.running = parameters, [], True
        self.now = SimpleNamespace(q_d=np.zeros(7), dq_d=np.zeros(7), dq=np.zeros(7), time=0.0)
        self.settled = threading.Event()

    def move_to(self, target) -> None:
        self.targets.append(np.asarray(target))

    def state(self) -> SimpleNamespace:
        return self.now

    def stop(self) -> None:
        self.settled.wait(5.0)
        self.running = False
        raise RuntimeError("preempted")


ROBOT = SimpleNamespace(cartesian_targets=Loop, joint_targets=Loop, stop=lambda: None)


def test_the_pull_on_a_held_arm_is_bounded_and_motions_are_damped_towards_their_own_speed():
    told = TrackingLoop(ROBOT, CONFIG)._loop.parameters
    assert told["cartesian_stiffness"] == [1000.0] * 3 + [50.0] * 3
    assert told["leash"] == (pytest.approx(0.02), pytest.approx(8.0 / 50.0))
    np.testing.assert_allclose(told["cartesian_damping"][:3], 2.0 * np.sqrt(1000.0 * 4.0))
    assert told["velocity_feedforward"] and told["project_joint_gains"]


@pytest.mark.parametrize("robot", [PANDA, FR3], ids=lambda robot: robot.name)
def test_no_budget_is_wider_than_the_robots_limits(robot):
    told = TrackingLoop(ROBOT, FrankaConfig(address="127.0.0.1", robot=robot.name))._loop.parameters
    for order, pair in (("velocity", robot.speed), ("acceleration", robot.acceleration), ("jerk", robot.jerk)):
        assert told[f"max_{order}"] <= pair[0] and told[f"max_angular_{order}"] <= pair[1]


@pytest.mark.parametrize(("served", "robot"), [(PANDA, FR3), (FR3, PANDA)], ids=["fr3 at 5", "panda at 10"])
def test_a_joint_motion_keeps_the_true_limits_although_its_share_is_of_the_served_robots(served, robot):
    share = FrankaConfig(address="127.0.0.1", homing_dynamics=0.3).homing_dynamics
    for name in ("dq_rad_s", "ddq_rad_s2", "dddq_rad_s3"):
        assert (share * getattr(served, name) <= getattr(robot, name)).all(), name


def test_a_reference_is_led_along_its_twist_and_one_at_rest_is_not():
    loop = TrackingLoop(ROBOT, CONFIG)
    pose = np.eye(4)
    pose[:3, 3] = (0.4, 0.0, 0.3)
    loop.send(RigidState(pose, np.array([0.5, 0.0, 0.0, 0.0, 0.0, 1.0])))
    loop.send(RigidState(pose, np.zeros(6)))
    ahead, there = loop._loop.targets
    np.testing.assert_allclose(ahead[:3], (0.41, 0.0, 0.3), atol=1e-12)
    np.testing.assert_allclose(ahead[3:], (0.0, 0.0, np.sin(0.01), np.cos(0.01)), atol=1e-12)
    np.testing.assert_allclose(there, (0.4, 0.0, 0.3, 0.0, 0.0, 0.0, 1.0), atol=1e-12)


def test_a_stop_aims_at_where_the_hand_can_stop_first():
    loop, braking = TrackingLoop(ROBOT, CONFIG), 0.9 * PANDA.acceleration[0]
    loop.rest(None)
    assert loop._loop.targets == []
    loop.rest(RigidState(np.eye(4), np.array([0.0, 0.4, 0.0, 0.0, 0.0, 0.0])))
    np.testing.assert_allclose(loop._loop.targets[0][:3], (0.0, 0.4**2 / (2.0 * braking), 0.0), atol=1e-12)


def test_a_joint_motion_that_is_stopped_ends_where_the_joints_can_stop_first_and_never_past_its_end():
    loop = JointLoop(ROBOT, np.full(7, 1.0), FrankaConfig(address="127.0.0.1", homing_dynamics=0.2), 0.5)
    loop._loop.now = SimpleNamespace(q_d=np.array([0.2] * 6 + [0.999]), dq_d=np.full(7, 0.15))
    assert loop._loop.parameters["fraction"] == pytest.approx(0.1) and not loop.reached
    loop.rest()
    way = loop._loop.targets[-1] - loop._loop.now.q_d
    np.testing.assert_allclose(way[:6], 0.15**2 / (2.0 * 0.1 * PANDA.ddq_rad_s2[:6]))
    assert way[6] == pytest.approx(0.001)


def test_a_joint_motion_has_reached_its_end_when_the_robot_was_told_the_last_angles_at_rest():
    loop = JointLoop(ROBOT, np.full(7, 0.5), CONFIG, 1.0)
    for q_d, dq_d, reached in ((0.5, 0.1, False), (0.49, 0.0, False), (0.50005, 0.0, True)):
        loop._loop.now = SimpleNamespace(q_d=np.full(7, q_d), dq_d=np.full(7, dq_d))
        assert loop.reached == reached
    loop._loop.running = False
    assert not loop.reached, "it was ended"


def stopping_robot() -> tuple[SimpleNamespace, list[float]]:
    """A robot that notes the time of its own clock at which it was told to stop, and its loop with it."""
    stopped: list[float] = []
    robot = SimpleNamespace(cartesian_targets=Loop)

    def stop() -> None:
        stopped.append(loop._loop.now.time)
        loop._loop.settled.set()

    robot.stop = stop
    loop = TrackingLoop(robot, CONFIG)
    return loop, stopped


def test_tracking_ends_as_soon_as_the_joints_are_slow_and_that_is_no_error():
    loop, stopped = stopping_robot()
    loop._loop.now = SimpleNamespace(dq=np.full(7, 0.01), time=3.0)
    loop.end()
    assert stopped == [3.0] and not loop.running


def test_joints_that_swing_on_are_left_to_the_robot_after_a_while_of_its_clock():
    loop, stopped = stopping_robot()
    states = iter(SimpleNamespace(dq=np.full(7, 0.1), time=0.1 * tick) for tick in range(100))
    loop._loop.state = lambda: loop._loop.__dict__.update(now=next(states)) or loop._loop.now
    loop.end()
    assert stopped == [pytest.approx(0.5)]


def test_what_ended_tracking_before_is_told():
    loop, stopped = stopping_robot()
    loop._loop.running = False
    loop._loop.settled.set()
    with pytest.raises(RuntimeError, match="preempted"):
        loop.end()
    assert stopped == []


def test_an_ending_waits_elsewhere_and_keeps_why():
    loop = JointLoop(ROBOT, np.zeros(7), CONFIG, 1.0)
    ending = Ending(loop)
    assert ending.running and ending.error is None
    loop._loop.settled.set()
    ending.wait()
    assert not ending.running and str(ending.error) == "preempted"
    held = weakref.ref(loop)
    del loop
    assert held() is None, "the connection goes with the loop, whoever keeps the error"
