"""The limits around a command as rows: how far away each one is, and how a small step of the hand changes that."""

from dataclasses import dataclass

import numpy as np

from d2ppo_core.geometry import Array, step_between
from d2ppo_core.runtime.safety.cell import Cell
from d2ppo_core.runtime.safety.kinematics import ELBOW_STRAIGHT_RAD, ArmPosture, crossed, posture, pseudo_inverse
from d2ppo_core.runtime.safety.robots import Robot
from d2ppo_core.runtime.safety.shapes import KeepOutField

WORKSPACE, TABLE, KEEP_OUT, JOINT = range(4)
"""What a row stands for."""

_LEAD_M, _LEAD_RAD = 0.1, 0.5
"""A command further from the arm than this is looked at as if it were that far: there Newton's step means nothing."""


@dataclass(frozen=True)
class Joints:
    """Joint angles that belong to a commanded pose, and what links them with it.

    Attributes:
        q_rad: (7,).
        at: Links at the angles at which the Jacobian was taken.
        inverse: (7, 6) joint step per step of the hand.
        shift_rad: (7,) from the angles of ``at`` to ``q_rad``.
    """

    q_rad: Array
    at: ArmPosture
    inverse: Array
    shift_rad: Array


class LimitRows:
    """Rows of one cell and robot: the box, table and keep-out shapes for each ball, both ends of each joint."""

    def __init__(self, cell: Cell, robot: Robot) -> None:
        """Arrange the constants."""
        self._low, self._high = np.array(cell.workspace_min_m), np.array(cell.workspace_max_m)
        self._table_m = cell.table_height_m + cell.table_clearance_m
        self._tool = cell.tool.T_flange_ee
        self._tool_balls = np.array([ball.position_m for ball in cell.tool.balls])
        self._arm_balls = np.array([ball.position_m for ball in cell.arm_balls], dtype=float).reshape(-1, 3)
        self._links = np.array([ball.link for ball in cell.arm_balls], dtype=int)
        self._radii = np.array([ball.radius_m for ball in (*cell.tool.balls, *cell.arm_balls)])
        self._field = KeepOutField(cell.keep_out)
        ends = robot.q_max_rad.copy()
        ends[3] = min(ends[3], ELBOW_STRAIGHT_RAD)  # beyond it no step of the hand has joint angles near by
        self._q_low, self._q_high = robot.q_min_rad + cell.joint_margin_rad, ends - cell.joint_margin_rad
        balls, tips = len(self._radii), len(self._tool_balls)
        self.kinds = np.repeat((WORKSPACE, TABLE, KEEP_OUT, JOINT), (6, balls, balls * self._field.count, 14))
        self.is_joint = self.kinds == JOINT
        of_arm = np.tile(np.arange(balls) >= tips, 1 + self._field.count)
        self.needs_joints = np.concatenate([np.zeros(6, bool), of_arm, np.ones(14, bool)])
        """Rows that are only as good as the joint angles found."""
        self._fixed = np.zeros((6 + balls, 6))  # box and table: their rows hardly change
        self._fixed[:3, :3], self._fixed[3:6, :3] = np.eye(3), -np.eye(3)
        self._fixed[6:, 2] = -1.0

    def joints_at(self, pose: Array, q_rad: Array, *, refined: bool) -> Joints:
        """Joint angles of a commanded pose near measured ones; refined: to second order of what lies between."""
        at = posture(q_rad, self._tool)
        lead = _shortened_lead(step_between(at.pose, pose))
        inverse = pseudo_inverse(at.jacobian())
        shift = inverse @ lead
        if not refined:
            return Joints(q_rad + shift, at, inverse, shift)
        q = q_rad + shift
        at = posture(q, self._tool)
        inverse = pseudo_inverse(at.jacobian())
        lead = _shortened_lead(step_between(at.pose, pose))
        shift = inverse @ lead
        return Joints(q + shift, at, inverse, shift)

    def moved(self, joints: Joints, previous: Array, pose: Array, step: Array) -> Joints:
        """Joint angles after a step from the ``previous`` commanded pose to ``pose``, to second order."""
        before = posture(joints.q_rad, self._tool)
        first = joints.inverse @ step
        at = posture(joints.q_rad + first, self._tool)
        lacking = step_between(at.pose, pose) - step_between(before.pose, previous)
        second = joints.inverse @ lacking
        return Joints(joints.q_rad + first + second, at, joints.inverse, second)

    def distances(self, pose: Array, joints: Joints) -> tuple[Array, Array, Array]:
        """Distances (M,) of all rows, and what ``slopes`` needs: ball centres (B, 3), directions away (S, B, 3)."""
        position = pose[:3, 3]
        points = self._tool_balls @ pose[:3, :3].T + position
        if len(self._links):
            points = np.concatenate((points, self._arm_points(joints)))
        apart, away = self._field.distances(points)
        parts = (
            self._high - position,
            position - self._low,
            points[:, 2] - self._radii - self._table_m,
            (apart - self._radii).ravel(),
            self._q_high - joints.q_rad,
            joints.q_rad - self._q_low,
        )
        return np.concatenate(parts), points, away

    def _arm_points(self, joints: Joints) -> Array:
        links = self._links - 1
        at = joints.at
        points = at.origins_m[links] + (at.axes[links] @ self._arm_balls[:, :, None])[:, :, 0]
        return np.asarray(points + at.point_jacobians(points, self._links) @ joints.shift_rad)

    def slopes(self, pose: Array, joints: Joints, points: Array, away: Array) -> Array:
        """(M, 6): how much nearer each limit comes per step of the hand."""
        tips = len(self._tool_balls)
        arms = points[:tips] - pose[:3, 3]
        fixed = self._fixed.copy()
        fixed[6 : 6 + tips, 3], fixed[6 : 6 + tips, 4] = -arms[:, 1], arms[:, 0]
        shapes = np.concatenate((-away, -crossed(np.broadcast_to(_arms_of(arms, away), away.shape), away)), axis=-1)
        if len(self._links):
            per_step = joints.at.point_jacobians(points[tips:], self._links) @ joints.inverse
            fixed[6 + tips :] = -per_step[:, 2]
            shapes[:, tips:] = -(away[:, tips:, None, :] @ per_step)[:, :, 0]
        return np.concatenate((fixed, shapes.reshape(-1, 6), joints.inverse, -joints.inverse))


def _arms_of(arms: Array, away: Array) -> Array:
    """Lever arms (B, 3) of all balls; zero for those of the arm, whose rows come from its joints."""
    if len(arms) == away.shape[1]:
        return arms
    return np.concatenate((arms, np.zeros((away.shape[1] - len(arms), 3))))


def _shortened_lead(lead: Array) -> Array:
    linear, angular = float(np.sqrt(lead[:3] @ lead[:3])), float(np.sqrt(lead[3:] @ lead[3:]))
    return lead * min(1.0, _LEAD_M / max(linear, 1e-9), _LEAD_RAD / max(angular, 1e-9))


def approach(distance: Array, per_period: Array) -> Array:
    """Longest step towards limits at these distances from which one can still stop: v² <= 2 a d, for periods.

    Stepping s, then s - u, s - 2u and so on with u = a T² covers s²/(2u) + s/2, which must not exceed the distance.
    A limit that was passed already allows no step any further.

    Args:
        distance: (M,) m or rad.
        per_period: (M,) u, the change of step per period that braking makes.
    """
    inside = np.maximum(distance, 0.0)
    step = per_period * (np.sqrt(0.25 + 2.0 * inside / per_period) - 0.5)
    return np.minimum(step, inside)
