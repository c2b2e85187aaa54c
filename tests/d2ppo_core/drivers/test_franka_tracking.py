"""What franky's impedance controller is told: what is fed forward, and how the elbow rests; franky is a stand-in."""

from types import SimpleNamespace

import numpy as np
import pytest

from d2ppo_core.drivers.franka_config import FrankaConfig
from d2ppo_core.drivers.franka_tracking import ImpedanceTracking, without_lost
from d2ppo_core.geometry import RigidState
from d2ppo_core.runtime.control.trajectory import Motion
from d2ppo_core.runtime.safety.kinematics import posture

REGULAR = np.array([0.0, -0.3, 0.0, -2.2, 0.0, 2.0, 0.785])
WRIST_STRAIGHT = np.array([0.1, 0.2, 0.2, -2.6, 0.3, np.pi, 0.785])
ACCELERATION = np.array([1.0, -2.0, 0.5, 3.0, 2.0, -1.0])


class Tracker:
    """Keeps what it is told."""

    def __init__(self, robot, **parameters) -> None:
        self.parameters, self.targets, self.gains = parameters, [], []

    def set_target(self, *target) -> None:
        self.targets.append(target)

    def set_gains(self, *, nullspace_gains) -> None:
        self.gains.append((nullspace_gains.posture_stiffness[0], nullspace_gains.posture_damping[0]))


@pytest.fixture
def tracking() -> ImpedanceTracking:
    franky = SimpleNamespace(
        CartesianImpedanceTracker=Tracker,
        PostureTask=lambda q_rad, stiffness: (q_rad, stiffness),
        FrictionCompensationParams=SimpleNamespace,
        NullspaceGains=SimpleNamespace,
        Affine=np.asarray,
        Twist=lambda *parts: np.concatenate(parts),
        TwistAcceleration=lambda *parts: np.concatenate(parts),
    )
    pose = SimpleNamespace(matrix=posture(REGULAR, np.eye(4)).pose)
    robot = SimpleNamespace(state=SimpleNamespace(q=REGULAR, O_T_EE=pose))
    return ImpedanceTracking(franky, robot, FrankaConfig(address="127.0.0.1", posture_stiffness_nm_rad=16.0))


def test_only_a_motion_has_its_acceleration_fed_forward(tracking: ImpedanceTracking):
    twist = np.full(6, 0.1)
    tracking.send(RigidState(np.eye(4), twist))
    tracking.send(Motion(np.eye(4), twist, ACCELERATION))
    plain, fed = tracking._tracker.targets
    assert len(plain) == 2
    np.testing.assert_allclose(fed[2], ACCELERATION, rtol=1e-9)


def test_the_elbow_is_let_go_while_the_hand_rests_but_stays_damped(tracking: ImpedanceTracking):
    for twist in (np.full(6, 0.1), np.zeros(6), np.zeros(6), np.full(6, 0.1)):
        tracking.send(RigidState(np.eye(4), twist))
    assert tracking._tracker.gains == [(0.1, 8.0), (16.0, 8.0)]


def test_nothing_is_fed_forward_along_a_direction_that_the_arm_loses():
    at = posture(WRIST_STRAIGHT, np.eye(4))
    directions, values, _ = np.linalg.svd(at.jacobian())
    assert values[-1] < 0.1 < values[-2]
    kept = without_lost(ACCELERATION, WRIST_STRAIGHT, at.pose)
    share = (directions.T @ kept) / (directions.T @ ACCELERATION)
    assert share[-1] == pytest.approx((values[-1] / 0.15) ** 2)
    np.testing.assert_allclose(share[:-2], 1.0, rtol=1e-9)
