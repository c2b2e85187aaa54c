"""Properties of the safety filter over whole streams of commands, harmless, random and adversarial ones.

The arm follows each command at once: its joints are the ones that inverse kinematics finds for the commanded pose.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from d2ppo_core.geometry import Array, RigidState, moved_by, rotation_matrix, step_between
from d2ppo_core.runtime.safety.cell import Ball, Cell, LinkBall, Tool
from d2ppo_core.runtime.safety.filter import SafetyFilter
from d2ppo_core.runtime.safety.kinematics import posture, solve_ik
from d2ppo_core.runtime.safety.robots import FR3, PANDA, Robot
from d2ppo_core.runtime.safety.shapes import BoxShape, CapsuleShape, KeepOut, KeepOutField, SphereShape

PERIOD_S = 0.008
HOME = np.array([0.0, 0.0, 0.0, -2.1, 0.0, 2.1, 0.785])
SHAPES = KeepOut(
    boxes=(BoxShape(centre_m=(0.62, 0.2, 0.15), size_m=(0.12, 0.1, 0.3), yaw_rad=0.4),),
    spheres=(SphereShape(centre_m=(0.45, -0.25, 0.3), radius_m=0.08),),
    capsules=(CapsuleShape(start_m=(0.62, -0.1, 0.0), end_m=(0.62, -0.1, 0.35), radius_m=0.03),),
)
CELL = Cell(
    robot="panda",
    workspace_min_m=(0.3, -0.35, 0.02),
    workspace_max_m=(0.7, 0.35, 0.6),
    table_height_m=0.0,
    table_clearance_m=0.005,
    tool=Tool(
        balls=tuple(Ball(position_m=(x, y, 0.01)) for x in (0.01, -0.01) for y in (0.05, -0.05))
        + (Ball(position_m=(0.06, 0.0, -0.05), radius_m=0.04),)
    ),
    arm_balls=(LinkBall(link=7, position_m=(0.0, 0.0, 0.05), radius_m=0.07),),
    keep_out=SHAPES,
    linear_speed_m_s=0.4,
    angular_speed_rad_s=1.5,
)

FREE = replace(CELL, keep_out=KeepOut())

Stream = Callable[[int, RigidState], RigidState]


class Run:
    """What became of a stream: commands, joints and the clearances of every command, computed afresh."""

    def __init__(self, cell: Cell, robot: Robot, stream: Stream, count: int, q_rad: Array = HOME) -> None:
        self.cell, self.robot, self.filter = cell, robot, SafetyFilter(cell, robot)
        self.tool = cell.tool.T_flange_ee
        self.commands = [RigidState(posture(q_rad, self.tool).pose, np.zeros(6))]
        self.joints = [q_rad]
        for tick in range(count):
            previous = self.commands[-1]
            command = self.filter.apply(stream(tick, previous), previous, self.joints[-1], PERIOD_S)
            self.commands.append(command)
            self.joints.append(solve_ik(command.pose, self.joints[-1], self.tool))
        self.steps = np.array([step_between(a.pose, b.pose) for a, b in pairwise(self.commands)])
        self.twists = np.array([command.twist for command in self.commands])
        self.clearances = np.array([self._clearances(*pair) for pair in zip(self.commands, self.joints, strict=True)])

    def _clearances(self, command: RigidState, q_rad: Array) -> list[float]:
        """Distance from box, table, shapes and joint margins, without a line of the filter's own."""
        cell, at = self.cell, posture(q_rad, self.tool)
        position, rotation = command.pose[:3, 3], command.pose[:3, :3]
        centres = [(position + rotation @ ball.position_m, ball.radius_m) for ball in cell.tool.balls]
        for ball in cell.arm_balls:
            centre = at.origins_m[ball.link - 1] + at.axes[ball.link - 1] @ ball.position_m
            centres.append((centre, ball.radius_m))
        shapes = [distance_to(shape, centre) - radius for centre, radius in centres for shape in all_shapes(cell)]
        margin = cell.joint_margin_rad
        return [
            min((position - cell.workspace_min_m).min(), (cell.workspace_max_m - position).min()),
            min(centre[2] - radius for centre, radius in centres) - cell.table_height_m - cell.table_clearance_m,
            min(shapes, default=np.inf),
            min((q_rad - self.robot.q_min_rad).min(), (self.robot.q_max_rad - q_rad).min()) - margin,
        ]

    def assert_within_limits(self) -> None:
        worst = self.clearances.min(axis=0)
        assert worst[:3].min() > -2e-4, f"box, table, shapes: {worst[:3]} m"
        assert worst[3] > -2e-3, f"joint margin: {worst[3]} rad"
        cell = self.cell
        for part, speed, growth in (
            (slice(0, 3), cell.linear_speed_m_s, cell.linear_acceleration_m_s2),
            (slice(3, 6), cell.angular_speed_rad_s, cell.angular_acceleration_rad_s2),
        ):
            speeds = np.linalg.norm(self.steps[:, part], axis=1) / PERIOD_S
            fed = np.linalg.norm(self.twists[:, part], axis=1)
            assert speeds.max() <= speed + 1e-5 and fed.max() <= speed + 1e-6
            assert (speeds <= fed[:-1] + growth * PERIOD_S + 1e-5).all()
        rates = np.abs(np.diff(self.joints, axis=0)) / PERIOD_S
        assert (rates <= 1.1 * cell.joint_speed_share * self.robot.dq_rad_s).all(), rates.max(axis=0)


def all_shapes(cell: Cell) -> list:
    return [*cell.keep_out.boxes, *cell.keep_out.spheres, *cell.keep_out.capsules]


def distance_to(shape, point: Array) -> float:
    if isinstance(shape, BoxShape):
        local = rotation_matrix(np.array([0.0, 0.0, -shape.yaw_rad])) @ (point - shape.centre_m)
        beyond = np.abs(local) - 0.5 * np.array(shape.size_m)
        return float(np.linalg.norm(np.maximum(beyond, 0.0)) + min(beyond.max(), 0.0))
    if isinstance(shape, SphereShape):
        return float(np.linalg.norm(point - shape.centre_m)) - shape.radius_m
    start, axis = np.array(shape.start_m), np.subtract(shape.end_m, shape.start_m)
    along = np.clip((point - start) @ axis / (axis @ axis), 0.0, 1.0)
    return float(np.linalg.norm(point - start - along * axis)) - shape.radius_m


def wild(seed: int, hold: int) -> Stream:
    """Jumps to targets anywhere, far outside of all limits too, with a twist that has nothing to do with them."""
    rng = np.random.default_rng(seed)
    state = {}

    def stream(tick: int, previous: RigidState) -> RigidState:
        if tick % hold == 0:
            target = moved_by(state.setdefault("start", previous.pose), np.zeros(6))
            target[:3, 3] = rng.uniform((0.1, -0.6, -0.3), (0.9, 0.6, 0.8))
            target[:3, :3] = rotation_matrix(rng.normal(scale=0.7, size=3)) @ target[:3, :3]
            state["target"] = RigidState(target, rng.normal(scale=0.5, size=6))
        return state["target"]

    return stream


def chasing(seed: int) -> Stream:
    """Runs ahead of the last command at high speed, in directions that turn slowly: along walls, into corners."""
    rng = np.random.default_rng(seed)
    rate = rng.normal(size=6)

    def stream(tick: int, previous: RigidState) -> RigidState:
        rate[:] += 0.15 * (rng.normal(size=6) - 0.3 * rate)
        step = np.concatenate([rate[:3] * 0.02, rate[3:] * 0.05])
        return RigidState(moved_by(previous.pose, step), step / PERIOD_S)

    return stream


def towards(step: Array) -> Stream:
    return lambda _, previous: RigidState(moved_by(previous.pose, step), step / PERIOD_S)


@pytest.mark.parametrize("seed", range(6))
def test_no_command_of_a_stream_of_jumps_violates_a_limit(seed):
    run = Run(CELL, PANDA, wild(seed, hold=60), 240)
    run.assert_within_limits()
    assert run.filter.interventions > 0


@pytest.mark.parametrize("seed", range(6))
def test_no_command_of_a_stream_that_chases_ahead_violates_a_limit(seed):
    Run(CELL, PANDA, chasing(seed), 300).assert_within_limits()


@pytest.mark.parametrize("seed", range(2))
def test_an_fr3_keeps_its_own_limits(seed):
    cell = replace(CELL, robot="fr3", workspace_min_m=(0.2, -0.6, 0.02), workspace_max_m=(0.8, 0.6, 0.8))
    Run(cell, FR3, chasing(10 + seed), 300).assert_within_limits()


@pytest.mark.parametrize("robot", [PANDA, FR3], ids=lambda robot: robot.name)
def test_each_robots_own_joint_speeds_hold_whatever_its_client_would_let_pass(robot):
    """A client may hold another robot's tables: round its base the hand asks for more than either can do."""
    cell = replace(
        FREE,
        robot=robot.name,
        workspace_min_m=(-0.9, -0.9, 0.02),
        workspace_max_m=(0.9, 0.9, 0.9),
        linear_speed_m_s=1.7,
        angular_speed_rad_s=2.5,
        linear_acceleration_m_s2=9.0,
        joint_speed_share=1.0,
        joint_braking_rad_s2=7.0,
        step_m=0.1,
    )

    def round_the_base(_: int, previous: RigidState) -> RigidState:
        outwards = previous.pose[:2, 3] / np.linalg.norm(previous.pose[:2, 3])
        return towards(np.array([-0.03 * outwards[1], 0.03 * outwards[0], 0.0, 0.0, 0.0, 0.0]))(0, previous)

    folded = np.array([-2.0, -1.0, 0.0, -2.8, 0.0, 1.9, 0.785])
    run = Run(cell, robot, round_the_base, 120, folded)
    shares = (np.abs(np.diff(run.joints, axis=0)) / PERIOD_S / robot.dq_rad_s).max(axis=0)
    assert run.filter.counts["joint_speed"] > 0 and 0.97 < shares.max() < 1.03, shares


@pytest.mark.parametrize("axis", range(6))
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_straight_into_any_limit_it_brakes_in_time_and_no_harder_than_it_may(axis, sign):
    step = np.zeros(6)
    step[axis] = sign * (0.02 if axis < 3 else 0.1)
    run = Run(FREE, PANDA, towards(step), 250)
    run.assert_within_limits()
    if axis < 3:  # a rotation that meets a joint's end may go on about another axis
        assert np.abs(run.steps[-20:]).max() < 2e-4, "it has come to rest"
        slowing = -np.diff(np.linalg.norm(run.steps[:, :3], axis=1)) / PERIOD_S**2
        assert slowing.max() <= 1.3 * CELL.braking_m_s2 + 0.3


@pytest.mark.parametrize("seed", range(4))
def test_before_every_limit_the_speed_leaves_room_to_brake(seed):
    run = Run(CELL, PANDA, chasing(20 + seed), 300)
    clear = run.clearances[1:]
    nearing = -np.diff(run.clearances, axis=0) / PERIOD_S
    braking = np.array([CELL.braking_m_s2] * 3 + [CELL.joint_braking_rad_s2])
    room = np.sqrt(2.0 * braking * np.maximum(clear, 0.0)) + braking * PERIOD_S + 0.02
    assert (nearing <= room).all(), (nearing - room).max(axis=0)


def smooth(tick: float) -> RigidState:
    """A gentle figure in free space with the twist that belongs to it."""
    start = posture(HOME, CELL.tool.T_flange_ee).pose
    w = 2.0 * np.pi / 4.0
    t = tick * PERIOD_S
    p = np.array([0.03 * np.sin(w * t), 0.04 * np.sin(2 * w * t), 0.03 * (1 - np.cos(w * t))])
    v = np.array([0.03 * w * np.cos(w * t), 0.08 * w * np.cos(2 * w * t), 0.03 * w * np.sin(w * t)])
    turn = 0.2 * np.sin(w * t)
    pose = moved_by(start, np.array([*p, 0.0, 0.0, turn]))
    return RigidState(pose, np.array([*v, 0.0, 0.0, 0.2 * w * np.cos(w * t)]))


def test_a_harmless_stream_passes_bit_by_bit_and_nothing_is_counted():
    commands = [smooth(tick) for tick in range(501)]
    safety, q = SafetyFilter(FREE, PANDA), HOME
    for before, command in pairwise(commands):
        assert safety.apply(command, before, q, PERIOD_S) is command
        q = solve_ik(command.pose, q, CELL.tool.T_flange_ee)
    assert set(safety.counts.values()) == {0}


def test_an_arm_that_lags_behind_and_is_measured_with_noise_changes_nothing_in_free_space():
    rng = np.random.default_rng(0)
    safety, lagging = SafetyFilter(FREE, PANDA), [HOME] * 5
    for tick in range(300):
        command = smooth(tick + 1)
        measured = lagging[-5] + rng.normal(scale=2e-4, size=7)
        assert safety.apply(command, smooth(tick), measured, PERIOD_S) is command
        lagging.append(solve_ik(command.pose, lagging[-1], CELL.tool.T_flange_ee))


@pytest.mark.parametrize(
    ("changes", "check", "way_out"),
    [
        ({"workspace_max_m": (0.7, 0.35, 0.3)}, "workspace", (0.0, 0.0, -0.02)),
        ({"table_height_m": 0.45, "workspace_max_m": (0.7, 0.35, 0.9)}, "table", (0.0, 0.0, 0.02)),
        ({"keep_out": KeepOut(spheres=(SphereShape(centre_m=(0.5, 0.0, 0.45), radius_m=0.2),))}, "keep_out", None),
        ({"keep_out": KeepOut(boxes=(BoxShape(centre_m=(0.5, 0.1, 0.5), size_m=(0.5, 0.5, 0.5)),))}, "keep_out", None),
    ],
)
def test_an_arm_that_starts_past_a_limit_may_stay_and_come_back_but_go_no_further(changes, check, way_out):
    cell = replace(CELL, **changes)
    column = {"workspace": 0, "table": 1, "keep_out": 2}[check]
    rest = posture(HOME, cell.tool.T_flange_ee).pose
    stays = Run(cell, PANDA, lambda *_: RigidState(rest, np.zeros(6)), 5)
    assert stays.clearances[0, column] < -0.01, "it starts past the limit"
    assert stays.filter.interventions == 0 and not np.abs(stays.steps).any()
    wild_run = Run(cell, PANDA, chasing(3), 150)
    assert np.diff(np.minimum(wild_run.clearances[:, column], 0.0)).min() > -1e-7, "never deeper"
    if way_out is None:
        out = rest[:3, 3] - np.array((cell.keep_out.spheres or cell.keep_out.boxes)[0].centre_m)
        way_out = 0.02 * out / np.linalg.norm(out)
    comes_back = Run(cell, PANDA, towards(np.array([*way_out, 0.0, 0.0, 0.0])), 300)
    assert comes_back.clearances[-1, column] > -1e-3


def test_an_arm_that_starts_inside_a_joint_margin_may_only_leave_it():
    q = HOME.copy()
    q[6] = PANDA.q_max_rad[6] - 0.04
    turn = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.01])
    deeper, back = (Run(CELL, PANDA, towards(sign * turn), 200, q) for sign in (-1.0, 1.0))
    for run in (deeper, back):
        ends = np.abs(np.array(run.joints)[:, 6])
        assert ends.max() <= q[6] + 1e-4
    assert {np.sign(run.joints[-1][6] - q[6] + 1e-3) for run in (deeper, back)} == {-1.0, 1.0}, "one way is free"


def test_along_a_wall_and_round_a_corner_of_the_box_it_slides():
    start = posture(HOME, CELL.tool.T_flange_ee).pose
    target = moved_by(start, np.array([0.0, 0.6, 0.6, 0.0, 0.0, 0.0]))
    run = Run(replace(FREE, workspace_max_m=(0.7, 0.2, 0.5)), PANDA, lambda *_: RigidState(target, np.zeros(6)), 500)
    run.assert_within_limits()
    np.testing.assert_allclose(run.commands[-1].pose[1:3, 3], (0.2, 0.5), atol=2e-3)


def test_a_rotation_that_would_dig_a_finger_into_the_table_is_held_back_and_the_hand_is_not_moved():
    low = posture(HOME, CELL.tool.T_flange_ee).pose.copy()
    low[:3, 3] = 0.45, 0.05, 0.03
    q = solve_ik(low, HOME, CELL.tool.T_flange_ee, steps=60)
    run = Run(FREE, PANDA, towards(np.eye(6)[3] * 0.02), 100, q)
    run.assert_within_limits()
    assert run.filter.counts["table"] > 0
    np.testing.assert_allclose(run.commands[-1].pose[:3, 3], low[:3, 3], atol=2e-3)
    assert run.clearances[-1, 1] < 1e-3


def test_the_field_of_shapes_has_the_distances_of_its_shapes_and_their_slopes():
    rng = np.random.default_rng(5)
    points = rng.uniform((0.3, -0.4, 0.0), (0.8, 0.4, 0.5), (300, 3))
    field = KeepOutField(SHAPES)
    distances, away = field.distances(points)
    shapes = [*SHAPES.spheres, *SHAPES.capsules, *SHAPES.boxes]
    expected = np.array([[distance_to(shape, point) for point in points] for shape in shapes])
    np.testing.assert_allclose(distances, expected, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(away, axis=-1), 1.0)
    shift = rng.normal(size=(300, 3)) * 0.05
    ahead = field.distances(points + shift)[0]
    assert (ahead >= distances + (away * shift).sum(-1) - 1e-9).all(), "the linear part never promises too much"
