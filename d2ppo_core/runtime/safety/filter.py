"""Safety filter between the reference and the robot: pure numpy, no clock, no threads, no ROS."""

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from d2ppo_core.errors import ConfigError
from d2ppo_core.geometry import Array, RigidState, moved_by, step_between
from d2ppo_core.runtime.safety.cell import Cell
from d2ppo_core.runtime.safety.kinematics import posture
from d2ppo_core.runtime.safety.robots import Robot
from d2ppo_core.runtime.safety.rows import JOINT, KEEP_OUT, TABLE, WORKSPACE, Joints, LimitRows, approach
from d2ppo_core.runtime.safety.solver import nearest_step

CHECKS = (
    "not_finite", "not_rigid", "workspace", "table", "keep_out", "joint_margin", "joint_speed", "step",
    "linear_speed", "angular_speed", "acceleration", "twist",
)  # fmt: skip
"""Keys of the counts: why a command was refused (the first two) or changed."""

_RIGID = 1e-6
_OUTSIDE = 1e-4
"""A limit passed by more than this (m or rad) was passed by the arm itself; by less, it is what rounding leaves."""
_NEAR = 1e-3
"""Closer to a limit than this (m or rad), the curvature that rows do not see is looked at."""
_UNSURE = 0.02
"""Closer than this to a limit of joints, the joint angles are found to second order."""
_TOLERANCE = 1e-9
_DRIFT_M, _DRIFT_RAD, _FORGET_S = 0.01, 0.1, 0.5
"""How far the integral of twists may come apart from the poses that they belong to, and how long it is remembered."""
_TOOL_M, _TOOL_RAD = 0.01, 0.05


@dataclass(frozen=True)
class _Around:
    """Rows at the command before: joints there, distances, slopes, the step that each one allows, where
    it is the joint's speed that allows no more, and the longest translation and rotation.
    """

    joints: Joints
    distance: Array
    slopes: Array
    most: Array
    at_speed: npt.NDArray[np.bool_]
    longest: tuple[float, float]


class SafetyFilter:
    """Changes each command as little as the cell's limits require, and counts why.

    Every limit (the box for the end effector; table and keep-out shapes for each ball of tool and arm; both ends of
    each joint's travel) is a row: its distance from the last command, and how a step changes it. A step towards a
    limit is allowed as far as one can still brake before it. Where the arm is past a limit already, it may stay or
    come back, but go no further. A command that breaks no limit is returned as it is, bit by bit.
    """

    def __init__(self, cell: Cell, robot: Robot) -> None:
        """Take the cell's limits and the robot's."""
        self.cell = cell
        self.counts = dict.fromkeys(CHECKS, 0)
        self._robot, self._rows = robot, LimitRows(cell, robot)
        self._low, self._high = np.array(cell.workspace_min_m), np.array(cell.workspace_max_m)
        self._braking = np.where(self._rows.is_joint, cell.joint_braking_rad_s2, cell.braking_m_s2)
        self._drift = np.zeros(6)

    @property
    def interventions(self) -> int:
        """Sum of all counts."""
        return sum(self.counts.values())

    def refuse_if_tool_differs(self, measured: Array, q_rad: Array) -> None:
        """Compare where the robot says its end effector is with where the cell's tool puts it.

        Args:
            measured: 4×4 pose that the robot reports.
            q_rad: (7,) joint angles of the same moment.

        Raises:
            ConfigError: They differ; table, shapes and joints would be judged with another tool than the robot has.
        """
        gap = step_between(posture(q_rad, self.cell.tool.T_flange_ee).pose, measured)
        gap_m, gap_rad = float(np.linalg.norm(gap[:3])), float(np.linalg.norm(gap[3:]))
        if gap_m > _TOOL_M or gap_rad > _TOOL_RAD:
            raise ConfigError(
                f"tool: wanted the cell's end effector where the robot's is (F_T_EE in Desk), got it "
                f"{gap_m * 1e3:.0f} mm and {math.degrees(gap_rad):.0f} degrees away"
            )

    def apply(self, wanted: RigidState, previous: RigidState, q_rad: Array, period_s: float) -> RigidState:
        """Return the nearest command that is allowed; the wanted one itself where nothing is against it.

        Args:
            wanted: Command that the reference generator asks for.
            previous: Command before it.
            q_rad: (7,) measured joint angles.
            period_s: Time since the command before.

        Raises:
            ValueError: A number is not finite, or the pose is no rotation and translation; nothing sensible can be
                sent.
        """
        self._refuse_if_malformed(wanted, q_rad, period_s)
        hits: set[str] = set()
        asked = step_between(previous.pose, wanted.pose)
        longest = self._longest(previous, period_s)
        start = self._shortened(self._into_the_box(asked, previous, hits), longest, period_s, hits)
        around = self._look_around(previous, q_rad, period_s, start, longest)
        step, pose = self._checked(start, around, previous, wanted, hits)
        if pose is wanted.pose:
            twist = self._twist(wanted.twist, step, around, period_s, hits)
        else:
            twist, self._drift = step / period_s, np.zeros(6)
        for check in hits:
            self.counts[check] += 1
        return RigidState(pose, twist) if hits else wanted

    def _refuse_if_malformed(self, wanted: RigidState, q_rad: Array, period_s: float) -> None:
        numbers = np.concatenate((wanted.pose.ravel(), wanted.twist, q_rad, (period_s,)))
        if not math.isfinite(float(numbers.sum())) or period_s <= 0.0:
            self.counts["not_finite"] += 1
            raise ValueError("the reference is not finite")
        rotation = wanted.pose[:3, :3]
        bottom = wanted.pose[3].tolist()
        gap = float(np.abs(rotation @ rotation.T - np.eye(3)).max())
        if gap > _RIGID or bottom != [0.0, 0.0, 0.0, 1.0] or rotation[0] @ _cross(rotation[1], rotation[2]) < 0.0:
            self.counts["not_rigid"] += 1
            raise ValueError(f"the reference is no rigid pose; its rotation is off by {gap:.2g}")

    def _into_the_box(self, asked: Array, previous: RigidState, hits: set[str]) -> Array:
        """Aim at the nearest point of the box, so that the way there leads along its walls.

        From outside the box the way may lead inwards, but it need not.
        """
        at = previous.pose[:3, 3]
        low, high = np.minimum(self._low - at, 0.0), np.maximum(self._high - at, 0.0)
        inside = np.minimum(np.maximum(asked[:3], low), high)
        if (np.abs(inside - asked[:3]) <= _TOLERANCE).all():
            return asked
        hits.add("workspace")
        return np.concatenate((inside, asked[3:]))

    def _longest(self, previous: RigidState, period_s: float) -> tuple[float, float]:
        """Longest translation and rotation of a step by the cell's steps, speeds and how fast these may grow."""
        cell = self.cell
        linear = _length(previous.twist[:3]) + cell.linear_acceleration_m_s2 * period_s
        angular = _length(previous.twist[3:]) + cell.angular_acceleration_rad_s2 * period_s
        return (
            min(cell.step_m, min(cell.linear_speed_m_s, linear) * period_s),
            min(cell.step_rad, min(cell.angular_speed_rad_s, angular) * period_s),
        )

    def _shortened(self, asked: Array, longest: tuple[float, float], period_s: float, hits: set[str]) -> Array:
        """The step, its translation and its rotation cut to the longest each; what is longer is told by its reason."""
        cell = self.cell
        linear, angular = _length(asked[:3]), _length(asked[3:])
        if linear <= longest[0] + _TOLERANCE and angular <= longest[1] + _TOLERANCE:
            return asked
        if linear > cell.step_m or angular > cell.step_rad:
            hits.add("step")
        fast = linear > cell.linear_speed_m_s * period_s, angular > cell.angular_speed_rad_s * period_s
        if fast[0]:
            hits.add("linear_speed")
        if fast[1]:
            hits.add("angular_speed")
        if not any(fast):
            hits.add("acceleration")
        return _cut(asked, longest)

    def _look_around(
        self, previous: RigidState, q_rad: Array, period_s: float, step: Array, longest: tuple[float, float]
    ) -> _Around:
        rows = self._rows
        for refined in (False, True):
            joints = rows.joints_at(previous.pose, q_rad, refined=refined)
            distance, points, away = rows.distances(previous.pose, joints)
            slopes = rows.slopes(previous.pose, joints, points, away)
            left = distance - slopes @ step
            if not (left[rows.needs_joints] < _UNSURE).any():
                break
        most = approach(distance, self._braking * period_s**2)
        low, high = self._robot.velocity_bounds(joints.q_rad)
        share = self.cell.joint_speed_share * period_s
        fastest = np.full(len(most), np.inf)
        fastest[-14:] = share * np.concatenate((high, -low))
        return _Around(joints, distance, slopes, np.minimum(most, fastest), fastest < most, longest)

    def _held_back(self, start: Array, around: _Around, hits: set[str]) -> Array:
        """The step nearest to ``start`` that all rows allow."""
        if (around.slopes @ start <= around.most + _TOLERANCE).all():
            return start
        step, active = nearest_step(start, around.slopes, around.most)
        hits.update(self._check_of(row, around) for row in active)
        lengths = [max(_length(part), 1e-12) for part in _parts(step)]
        return step * min(1.0, around.longest[0] / lengths[0], around.longest[1] / lengths[1])

    def _check_of(self, row: int, around: _Around) -> str:
        kind = int(self._rows.kinds[row])
        if kind != JOINT:
            return {WORKSPACE: "workspace", TABLE: "table", KEEP_OUT: "keep_out"}[kind]
        return "joint_speed" if around.at_speed[row] else "joint_margin"

    def _checked(
        self, start: Array, around: _Around, previous: RigidState, wanted: RigidState, hits: set[str]
    ) -> tuple[Array, Array]:
        """Look at the pose that the step really leads to, and hold the step back by what curvature took."""
        step = self._held_back(start, around, hits)
        floor = np.where(around.distance < -_OUTSIDE, around.distance, 0.0)
        for _ in range(3):
            pose = wanted.pose if not hits and step is start else moved_by(previous.pose, step)
            near = around.distance - around.slopes @ step - floor <= _NEAR
            if not near.any():
                return step, pose
            joints = around.joints
            if (near & self._rows.needs_joints).any():
                joints = self._rows.moved(joints, previous.pose, pose, step)
            lacking = np.where(near, floor - self._rows.distances(pose, joints)[0], 0.0)
            short = np.flatnonzero(lacking > _TOLERANCE)
            if not len(short):
                return step, pose
            hits.update(self._check_of(row, around) for row in short.tolist())
            around.most[short] = np.minimum(around.most[short], (around.slopes @ step)[short]) - lacking[short]
            step = self._held_back(start, around, hits)
        if float(lacking.max()) < _OUTSIDE:
            return step, moved_by(previous.pose, step)
        return np.zeros(6), previous.pose.copy()

    def _twist(self, wanted: Array, step: Array, around: _Around, period_s: float, hits: set[str]) -> Array:
        """The wanted twist, where it obeys the limits of the step and belongs to the poses it comes with."""
        cell = self.cell
        drift = self._drift * max(0.0, 1.0 - period_s / _FORGET_S) + wanted * period_s - step
        apart = _length(drift[:3]) > _DRIFT_M or _length(drift[3:]) > _DRIFT_RAD
        linear, angular = _length(wanted[:3]), _length(wanted[3:])
        ahead = wanted * period_s
        blocked = (around.slopes @ ahead > around.most + 1e-6).any()
        if not apart and not blocked and linear <= cell.linear_speed_m_s and angular <= cell.angular_speed_rad_s:
            self._drift = drift
            return wanted
        hits.add("twist")
        self._drift = np.zeros(6)
        if apart:
            return step / period_s
        speeds = cell.linear_speed_m_s * period_s, cell.angular_speed_rad_s * period_s
        return self._held_back(_cut(ahead, speeds), replace(around, longest=speeds), set()) / period_s


def _parts(step: Array) -> tuple[Array, Array]:
    return step[:3], step[3:]


def _cut(step: Array, longest: tuple[float, float]) -> Array:
    """Translation and rotation of a step, each cut to its greatest length."""
    return np.concatenate(
        [part * min(1.0, most / max(_length(part), 1e-12)) for part, most in zip(_parts(step), longest, strict=True)]
    )


def _length(vector: Array) -> float:
    return math.sqrt(vector @ vector)


def _cross(a: Array, b: Array) -> Array:
    return np.array((a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]))
