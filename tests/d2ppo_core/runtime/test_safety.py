"""The safety filter: no step beyond its limits, nothing changed that is allowed, NaN refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from d2ppo_core.errors import ConfigError
from d2ppo_core.geometry import transform_from
from d2ppo_core.runtime.osc import RigidState
from d2ppo_core.runtime.safety import SafetyFilter, SafetyLimits

LIMITS = SafetyLimits(
    workspace_min_m=(0.2, -0.5, 0.0), workspace_max_m=(0.8, 0.5, 0.7), linear_speed_m_s=0.5, angular_speed_rad_s=2.0
)
PERIOD_S = 0.008
coordinate = st.floats(-2.0, 2.0, allow_nan=False)
vector = st.lists(coordinate, min_size=3, max_size=3)


def state(position, turn, twist=None) -> RigidState:
    rotation = Rotation.from_rotvec(turn) * Rotation.from_euler("x", np.pi)
    return RigidState(transform_from(position, rotation), np.zeros(6) if twist is None else twist)


@settings(max_examples=200, deadline=None)
@given(wanted=vector, turn=vector, inside=st.lists(st.floats(0.0, 1.0), min_size=3, max_size=3))
def test_a_command_stays_in_the_box_and_within_its_speed(wanted, turn, inside):
    low, high = np.array(LIMITS.workspace_min_m), np.array(LIMITS.workspace_max_m)
    previous = state(low + np.array(inside) * (high - low), [0, 0, 0]).pose
    command = SafetyFilter(LIMITS).apply(state(wanted, turn), previous, PERIOD_S)
    position = command.pose[:3, 3]
    assert (position >= low - 1e-9).all() and (position <= high + 1e-9).all()
    assert np.linalg.norm(position - previous[:3, 3]) <= 0.5 * PERIOD_S + 1e-9
    angle = np.linalg.norm(Rotation.from_matrix(command.pose[:3, :3] @ previous[:3, :3].T).as_rotvec())
    assert angle <= 2.0 * PERIOD_S + 1e-9


def test_an_allowed_command_passes_unchanged_and_uncounted():
    safety = SafetyFilter(LIMITS)
    wanted = state([0.5, 0.0, 0.3], [0, 0, 0.001], np.full(6, 0.01))
    assert safety.apply(wanted, state([0.501, 0.0, 0.3], [0, 0, 0]).pose, PERIOD_S) is wanted
    assert safety.interventions == 0


def test_the_reference_brakes_before_a_wall_and_stops_at_it():
    safety, pose, speeds = SafetyFilter(LIMITS), state([0.5, 0.0, 0.4], [0, 0, 0]).pose, []
    for _ in range(400):
        command = safety.apply(state([0.5, 0.0, -1.0], [0, 0, 0]), pose, PERIOD_S)
        speeds.append((pose[2, 3] - command.pose[2, 3]) / PERIOD_S)
        pose = command.pose
    assert pose[2, 3] == pytest.approx(0.0, abs=1e-6)
    assert max(speeds) == pytest.approx(0.5)
    assert np.diff(speeds).min() / PERIOD_S >= -2.0 * LIMITS.braking_m_s2, "it brakes harder than it may"


def test_every_intervention_is_counted():
    safety = SafetyFilter(LIMITS)
    for _ in range(3):
        safety.apply(state([0.5, 0.0, 2.0], [0, 0, 0]), state([0.5, 0.0, 0.7], [0, 0, 0]).pose, PERIOD_S)
    assert safety.interventions == 3


def test_a_command_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="not finite"):
        SafetyFilter(LIMITS).apply(state([0.5, 0.0, 0.3], [0, 0, 0], np.full(6, np.nan)), np.eye(4), PERIOD_S)


@pytest.mark.parametrize("speed", [0.0, -1.0, 2.0])
def test_a_speed_limit_out_of_range_is_refused(speed):
    with pytest.raises(ConfigError, match="speed limits"):
        SafetyLimits(
            workspace_min_m=(0, 0, 0), workspace_max_m=(1, 1, 1), linear_speed_m_s=speed, angular_speed_rad_s=1
        )


def test_a_box_turned_inside_out_is_refused():
    with pytest.raises(ConfigError, match="min < max"):
        SafetyLimits(workspace_min_m=(0, 0, 1), workspace_max_m=(1, 1, 0), linear_speed_m_s=0.5, angular_speed_rad_s=1)


def test_a_twist_is_bounded_even_where_the_pose_stands_still():
    safety = SafetyFilter(LIMITS)
    still = state([0.5, 0.0, 0.3], [0, 0, 0], np.array([30.0, 0.0, 40.0, 0.0, 50.0, 0.0]))
    command = safety.apply(still, still.pose, PERIOD_S)
    np.testing.assert_array_equal(command.pose, still.pose)
    np.testing.assert_allclose(command.twist, [0.3, 0.0, 0.4, 0.0, 2.0, 0.0])
    assert safety.interventions == 1
