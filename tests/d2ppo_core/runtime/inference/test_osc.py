"""The response of the training controller that turns deltas into targets."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.spatial.transform import Rotation

from d2ppo_core.actions import rotations_6d
from d2ppo_core.bundle import ActionSpec
from d2ppo_core.errors import ActionError, ConfigError
from d2ppo_core.geometry import RigidState, inverse, transform_from
from d2ppo_core.runtime.inference.osc import Targets, leashed, targets_from_deltas, targets_from_goals

T_EE_SITE = transform_from([0.0, 0.0, -0.0069], Rotation.identity())
DOWN = transform_from([0.45, 0.05, 0.2], Rotation.from_euler("x", np.pi))


GOALS = ActionSpec(representation="ee_absolute", frame="world", dim=10)
T_WORLD_BASE = transform_from([-0.56, 0.1, 0.912], Rotation.from_euler("z", 0.7))


def at_rest() -> RigidState:
    return RigidState(DOWN, np.zeros(6))


def test_zero_actions_leave_an_arm_at_rest_where_it_is():
    targets = targets_from_deltas(np.zeros((4, 7)), at_rest(), ActionSpec(), T_EE_SITE, settle_ticks=3)
    assert len(targets.states) == 1 + 4 + 3
    for state in targets.states:
        np.testing.assert_allclose(state.pose, DOWN, atol=1e-12)
        np.testing.assert_allclose(state.twist, 0.0, atol=1e-12)


@pytest.mark.parametrize("damping_ratio", [0.4, 1.0, 1.7])
@pytest.mark.parametrize("coupled", [False, True])
def test_each_tick_solves_the_controllers_differential_equation(damping_ratio, coupled):
    coupling = np.eye(6)
    if coupled:
        coupling[:3, 5], coupling[5, :3] = (0.1, 0.3, -0.2), (0.2, 0.7, -0.5)
    actions = np.random.default_rng(0).uniform(-1, 1, (4, 7))
    actions[:, 3:5] = 0.0  # turning about one axis only, so that rotation vectors add up
    spec = ActionSpec(damping_ratio=damping_ratio, coupling=tuple(coupling.ravel()))
    start = RigidState(DOWN, np.array([0.1, -0.05, 0.02, 0.0, 0.0, 0.3]))
    targets = targets_from_deltas(actions, start, spec, np.eye(4), settle_ticks=1)
    x, v = np.r_[DOWN[:3, 3], 0, 0, 0], start.twist.copy()
    for tick, action in enumerate(actions):
        goal = x + np.r_[0.05 * action[:3], 0.5 * action[3:6]]

        def law(_, y, goal=goal):
            force = spec.kp * (goal - y[:6]) - 2 * damping_ratio * np.sqrt(spec.kp) * y[6:]
            return np.r_[y[6:], coupling @ force]

        y = solve_ivp(law, (0.0, 0.05), np.r_[x, v], rtol=1e-10, atol=1e-12).y[:, -1]
        x, v = y[:6], y[6:]
        state = targets.states[tick + 1]
        turned = Rotation.from_matrix(state.pose[:3, :3] @ DOWN[:3, :3].T).as_rotvec()
        np.testing.assert_allclose(np.r_[state.pose[:3, 3], turned], x, atol=1e-8)
        np.testing.assert_allclose(state.twist, v, atol=1e-7)


def test_a_rotation_turns_in_the_base_frame_and_settles_at_its_goal():
    actions = np.zeros((1, 7))
    actions[0, 5] = 0.4
    targets = targets_from_deltas(actions, at_rest(), ActionSpec(), np.eye(4), settle_ticks=20)
    turned = Rotation.from_matrix(targets.states[-1].pose[:3, :3] @ DOWN[:3, :3].T).as_rotvec()
    np.testing.assert_allclose(turned, [0.0, 0.0, 0.2], atol=1e-3)


def test_a_chunk_without_a_successor_ends_at_rest():
    actions = np.tile([1.0, 0.5, -0.3, 0.0, 0.2, 0.0, 1.0], (4, 1))
    targets = targets_from_deltas(actions, at_rest(), ActionSpec(), T_EE_SITE, settle_ticks=8)
    np.testing.assert_array_equal(targets.states[-1].twist, 0.0)
    last_step_m = np.linalg.norm(targets.states[-1].pose[:3, 3] - targets.states[-2].pose[:3, 3])
    assert last_step_m < 1e-3


def test_gripper_closes_for_positive_actions_and_keeps_its_last_command():
    actions = np.zeros((3, 7))
    actions[:, 6] = [-1.0, 0.3, 0.9]
    targets = targets_from_deltas(actions, at_rest(), ActionSpec(), np.eye(4), settle_ticks=2)
    np.testing.assert_array_equal(targets.gripper_width_m, [0.08, 0.0, 0.0, 0.0, 0.0, 0.0])


def goal_of(T_base_ee: np.ndarray, gripper: float = -1.0) -> np.ndarray:
    """The action that asks for this pose of the end effector."""
    pose = T_WORLD_BASE @ T_base_ee
    return np.concatenate([(pose @ T_EE_SITE)[:3, 3], rotations_6d(pose[:3, :3]), [gripper]])


def pursue(actions: np.ndarray, start: RigidState, settle_ticks: int = 1) -> Targets:
    return targets_from_goals(actions, start, GOALS, T_WORLD_BASE, T_EE_SITE, settle_ticks)


def test_the_goals_of_deltas_are_pursued_as_the_deltas_are():
    actions = np.random.default_rng(1).uniform(-1, 1, (4, 7))
    start = RigidState(DOWN, np.array([0.1, -0.05, 0.02, 0.2, 0.0, 0.3]))
    wanted = targets_from_deltas(actions, start, ActionSpec(), T_EE_SITE, settle_ticks=1)
    goals = []
    for state, action in zip(wanted.states, actions, strict=False):
        site = state.pose @ T_EE_SITE
        turn = Rotation.from_rotvec(0.5 * action[3:6]) * Rotation.from_matrix(site[:3, :3])
        goal = transform_from(site[:3, 3] + 0.05 * action[:3], turn) @ inverse(T_EE_SITE)
        goals.append(goal_of(goal, action[6]))
    found = pursue(np.array(goals), start)
    for state, other in zip(found.states, wanted.states, strict=True):
        np.testing.assert_allclose(state.pose, other.pose, atol=1e-9)
        np.testing.assert_allclose(state.twist, other.twist, atol=1e-8)
    np.testing.assert_array_equal(found.gripper_width_m, wanted.gripper_width_m)


def test_an_arm_comes_to_rest_at_its_goal_wherever_it_starts():
    goal = transform_from([0.5, -0.1, 0.3], Rotation.from_euler("xyz", [3.0, 0.2, 0.4]))
    start = RigidState(DOWN, np.array([0.2, 0.0, -0.1, 0.0, 0.5, 0.0]))
    states = pursue(np.tile(goal_of(goal), (4, 1)), start, settle_ticks=60).states
    np.testing.assert_allclose(states[-1].pose, goal, atol=1e-3)


def test_a_goal_far_away_pulls_no_harder_than_a_delta_of_one():
    far = transform_from(DOWN[:3, 3] + [0.4, 0.0, -0.4], Rotation.from_matrix(DOWN[:3, :3]))
    states = pursue(np.tile(goal_of(far), (4, 1)), at_rest()).states
    hardest = np.tile([1.0, 0, -1.0, 0, 0, 0, -1.0], (4, 1))
    reference = targets_from_deltas(hardest, at_rest(), ActionSpec(), T_EE_SITE, settle_ticks=1).states
    np.testing.assert_allclose(states[4].pose, reference[4].pose, atol=1e-9)


def test_columns_that_are_not_quite_a_rotation_are_made_one():
    goal = goal_of(DOWN)
    goal[3:6] *= 1.2
    goal[6:9] = 0.8 * goal[6:9] + 0.3 * goal[3:6]
    for state in pursue(np.tile(goal, (4, 1)), at_rest()).states:
        np.testing.assert_allclose(state.pose, DOWN, atol=1e-9)


@pytest.mark.parametrize("spoilt", [slice(3, 9), slice(0, 1), slice(9, 10)])
def test_goals_that_are_no_pose_are_refused_by_their_number(spoilt):
    goals = np.tile(goal_of(DOWN), (4, 1))
    goals[2, spoilt] = 0.0 if spoilt.start == 3 else np.nan
    with pytest.raises(ActionError, match="goal 2 of the chunk is no pose"):
        pursue(goals, at_rest())


def test_actions_of_another_shape_are_refused_with_both_shapes():
    with pytest.raises(ConfigError, match=r"shape \(Tp, 7\), got \(4, 6\)"):
        targets_from_deltas(np.zeros((4, 6)), at_rest(), ActionSpec(), np.eye(4), settle_ticks=1)
    with pytest.raises(ConfigError, match=r"shape \(Tp, 10\), got \(4, 7\)"):
        pursue(np.zeros((4, 7)), at_rest())


def test_the_twist_of_another_frame_is_the_derivative_of_its_pose():
    state = RigidState(DOWN, np.array([0.1, 0.2, -0.1, 0.5, -0.4, 0.3]))
    offset = transform_from([0.05, -0.02, 0.1], Rotation.from_euler("z", 0.3))
    dt = 1e-6
    moved = transform_from(
        DOWN[:3, 3] + state.twist[:3] * dt,
        Rotation.from_rotvec(state.twist[3:] * dt) * Rotation.from_matrix(DOWN[:3, :3]),
    )
    numeric = ((moved @ offset)[:3, 3] - (DOWN @ offset)[:3, 3]) / dt
    np.testing.assert_allclose(state.of_frame(offset).twist[:3], numeric, atol=1e-6)


@settings(max_examples=100, deadline=None)
@given(
    lead=st.lists(st.floats(-0.2, 0.2), min_size=3, max_size=3),
    turn=st.lists(st.floats(-0.6, 0.6), min_size=3, max_size=3),
)
def test_a_leash_never_lets_the_start_lead_further_than_allowed(lead, turn):
    measured = at_rest()
    wanted = transform_from(
        DOWN[:3, 3] + np.array(lead), Rotation.from_rotvec(turn) * Rotation.from_matrix(DOWN[:3, :3])
    )
    start = leashed(RigidState(wanted, np.zeros(6)), measured, max_lead_m=0.02, max_lead_rad=0.1)
    assert np.linalg.norm(start.pose[:3, 3] - DOWN[:3, 3]) <= 0.02 + 1e-9
    angle = np.linalg.norm(Rotation.from_matrix(start.pose[:3, :3] @ DOWN[:3, :3].T).as_rotvec())
    assert angle <= 0.1 + 1e-9
    if np.linalg.norm(lead) <= 0.02 and np.linalg.norm(turn) <= 0.1:
        np.testing.assert_allclose(start.pose, wanted, atol=1e-9)
