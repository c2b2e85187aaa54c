"""The safety filter command by command: what each check changes, refuses and counts."""

from dataclasses import replace

import numpy as np
import pytest

from d2ppo_core.errors import ConfigError
from d2ppo_core.geometry import Array, RigidState, moved_by
from d2ppo_core.runtime.safety.cell import Ball, Cell, Tool
from d2ppo_core.runtime.safety.filter import CHECKS, SafetyFilter
from d2ppo_core.runtime.safety.kinematics import posture
from d2ppo_core.runtime.safety.robots import PANDA
from d2ppo_core.runtime.safety.rows import approach

PERIOD_S = 0.008
HOME = np.array([0.0, 0.0, 0.0, -2.1, 0.0, 2.1, 0.785])
CELL = Cell(
    robot="panda",
    workspace_min_m=(0.2, -0.5, 0.0),
    workspace_max_m=(0.8, 0.5, 0.7),
    table_height_m=-0.05,
    tool=Tool(balls=(Ball(position_m=(0.0, 0.05, 0.01)), Ball(position_m=(0.0, -0.05, 0.01)))),
    linear_speed_m_s=0.3,
    angular_speed_rad_s=1.0,
    joint_speed_share=1.0,
)
START = posture(HOME, CELL.tool.T_flange_ee).pose
FAST = np.array([0.3, 0.0, 0.0, 1.0, 0.0, 0.0])


def state(step=(0.0,) * 6, twist=None) -> RigidState:
    return RigidState(moved_by(START, np.array(step)), np.zeros(6) if twist is None else np.asarray(twist, float))


def filtered(wanted: RigidState, previous_twist: Array = FAST) -> tuple[RigidState, dict[str, int]]:
    safety = SafetyFilter(CELL, PANDA)
    command = safety.apply(wanted, state(twist=previous_twist), HOME, PERIOD_S)
    assert safety.interventions == sum(safety.counts.values())
    assert tuple(safety.counts) == CHECKS
    return command, {check: count for check, count in safety.counts.items() if count}


def test_an_allowed_command_passes_unchanged_and_uncounted():
    wanted = state((0.001, 0.0, 0.0, 0.0, 0.0, 0.002), np.full(6, 0.1))
    command, counts = filtered(wanted)
    assert command is wanted and counts == {}


@pytest.mark.parametrize(
    ("step", "previous_twist", "checks"),
    [
        ((0.006, 0.0, 0.0, 0.0, 0.0, 0.0), FAST, {"linear_speed"}),
        ((0.0, 0.0, 0.0, 0.0, 0.02, 0.0), FAST, {"angular_speed"}),
        ((0.1, 0.0, 0.0, 0.0, 0.0, 0.0), FAST, {"step", "linear_speed"}),
        ((0.002, 0.0, 0.0, 0.0, 0.0, 0.0), np.zeros(6), {"acceleration"}),
        ((0.0, 0.0, 0.0, 0.0, 0.0, 0.007), np.zeros(6), {"acceleration"}),
        ((0.0, 0.9, 0.0, 0.0, 0.0, 0.0), FAST, {"step", "linear_speed", "workspace"}),
    ],
)
def test_a_step_too_long_is_shortened_towards_what_was_wanted_and_its_reason_counted(step, previous_twist, checks):
    command, counts = filtered(state(step), previous_twist)
    assert counts == dict.fromkeys(checks, 1)
    moved = command.pose[:3, 3] - START[:3, 3]
    assert np.linalg.norm(moved) <= 0.3 * PERIOD_S + 1e-9
    np.testing.assert_allclose(command.twist[:3], moved / PERIOD_S, atol=1e-12)
    if any(step[:3]):
        assert moved @ step[:3] == pytest.approx(np.linalg.norm(moved) * np.linalg.norm(step[:3]))


def test_a_twist_is_bounded_even_where_the_pose_stands_still():
    command, counts = filtered(state(twist=[30.0, 0.0, 40.0, 0.0, 50.0, 0.0]))
    np.testing.assert_array_equal(command.pose, START)
    assert np.linalg.norm(command.twist[:3]) <= 0.3 + 1e-9 and np.linalg.norm(command.twist[3:]) <= 1.0 + 1e-9
    assert counts == {"twist": 1}


def test_a_twist_that_its_poses_do_not_follow_is_taken_back_before_it_pushes_the_arm_far():
    safety, standing = SafetyFilter(CELL, PANDA), state(twist=[0.2, 0.0, 0.0, 0.0, 0.0, 0.0])
    pushed = 0.0
    for _ in range(50):
        pushed += safety.apply(standing, state(), HOME, PERIOD_S).twist[0] * PERIOD_S
        if safety.counts["twist"]:
            break
    assert safety.counts["twist"] == 1 and pushed < 0.012


@pytest.mark.parametrize("broken", ["pose", "twist", "joints", "period"])
def test_what_is_not_finite_is_refused_and_counted(broken):
    safety, wanted, q = SafetyFilter(CELL, PANDA), state(), HOME.copy()
    if broken == "joints":
        q[3] = np.inf
    elif broken != "period":
        getattr(wanted, broken).flat[2] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        safety.apply(wanted, state(), q, np.nan if broken == "period" else PERIOD_S)
    assert safety.counts["not_finite"] == 1


@pytest.mark.parametrize("rotation", [1.01 * np.eye(3), np.diag([1.0, 1.0, -1.0]), np.zeros((3, 3))])
def test_a_matrix_that_is_no_rotation_is_refused_and_counted(rotation):
    safety, wanted = SafetyFilter(CELL, PANDA), state()
    wanted.pose[:3, :3] = rotation
    with pytest.raises(ValueError, match="no rigid pose"):
        safety.apply(wanted, state(), HOME, PERIOD_S)
    assert safety.counts["not_rigid"] == 1


def test_a_robot_with_another_tool_than_the_cells_is_noticed():
    safety = SafetyFilter(CELL, PANDA)
    safety.refuse_if_tool_differs(START, HOME)
    longer = Tool(position_m=(0.0, 0.0, 0.2), balls=CELL.tool.balls)
    with pytest.raises(ConfigError, match="tool: wanted the cell's end effector .* got it 97 mm and 0 degrees away"):
        SafetyFilter(replace(CELL, tool=longer), PANDA).refuse_if_tool_differs(START, HOME)


def test_an_approach_never_brakes_harder_than_it_may_and_ends_at_the_limit():
    period_change = np.array([1.0 * PERIOD_S**2])
    distance, steps = np.array([0.1]), []
    for _ in range(400):
        steps.append(float(approach(distance, period_change)[0]))
        distance = distance - steps[-1]
    assert distance[0] == pytest.approx(0.0, abs=1e-9)
    assert -np.diff(steps).min() <= 1.13 * period_change[0]
    assert approach(np.array([-0.1]), period_change)[0] == 0.0
