"""The chain hand, camera, board: its residuals in pixels, their derivatives, and the fit over all of them at once.

Of every view, hands[i] @ X @ T_camera_board[i] = Z. Of a camera on the hand, hands are T_base_ee, X is T_ee_camera and
Z is T_base_board. Of a camera beside the robot, hands are T_ee_base, X is T_base_camera and Z is T_ee_board: the same
chain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from calibration.board import Detection
from calibration.closed_form import inverses
from calibration.optics import project
from d2ppo_core.calibrated import Intrinsics
from d2ppo_core.geometry import Array, rotation_matrix
from d2ppo_core.runtime.safety.kinematics import posture

Ints = NDArray[np.intp]
Bools = NDArray[np.bool_]
JOINTS = 5
"""Offsets of joints 2 to 6: the first turns the base and the seventh the hand, which board and camera take up."""


@dataclass(frozen=True)
class Arm:
    """Joint angles (N, 7) of the views and the tool on the flange (4, 4)."""

    q_rad: Array
    T_flange_ee: Array


@dataclass(frozen=True)
class Linear:
    """The chain near where it stands, by view: a step x changes the pose residual from `y` to `y + A x`.

    Attributes:
        y: (N, 6), the step of the hand (m, rad, its own axes) that would explain a view's pixels best.
        A: (N, 6, P) by camera (6) and board (6), then the board's relative size (1), then joint offsets (5).
        information: (N, 6, 6) of `y` for pixels with a variance of 1.
        within: Pixels that no pose of the board explains: sum of squares.
        freedom: How many numbers that is the sum of.
        lever_m: (N, 3) middle of what was seen of the board, in the hand's frame.
    """

    y: Array
    A: Array
    information: Array
    within: float
    freedom: int
    lever_m: Array


def moved(transform: Array, step: Array) -> Array:
    """Return a transform after a step (6,), m and rad, in its own axes."""
    result = transform.copy()
    result[:3, 3] += transform[:3, :3] @ step[:3]
    result[:3, :3] = transform[:3, :3] @ rotation_matrix(step[3:])
    return result


@dataclass(frozen=True)
class Chain:
    """What was seen, and where camera and board are thought to be.

    Attributes:
        hands: (N, 4, 4).
        points_m: (M, 3) corners of all views on the board, view after view.
        pixels: (M, 2) where they were seen.
        view: (M,) which view.
        intrinsics: The camera's.
        X: (4, 4) camera on what carries it.
        Z: (4, 4) board on what carries that.
        size: Of the board, as a share of the measured one.
        offsets_rad: (5,) of the joints 2 to 6.
        arm: Where the joints are known.
        inverted: Whether the camera stands and the hand carries the board.
    """

    hands: Array
    points_m: Array
    pixels: Array
    view: Ints
    intrinsics: Intrinsics
    X: Array
    Z: Array
    size: float = 1.0
    offsets_rad: Array | None = None
    arm: Arm | None = None
    inverted: bool = False

    @classmethod
    def of(cls, hands: Array, detections: Sequence[Detection], intrinsics: Intrinsics, X: Array, Z: Array) -> Chain:
        """Return a chain of detections, one of each hand."""
        view = np.repeat(np.arange(len(detections)), [len(d.ids) for d in detections])
        points, pixels = (np.concatenate([getattr(d, name) for d in detections]) for name in ("points_m", "pixels"))
        return cls(hands, points, pixels, view, intrinsics, X, Z)

    def only(self, views: Ints) -> Chain:
        """Return the chain of some of the views, by number."""
        number = np.full(len(self.hands), -1)
        number[views] = np.arange(len(views))
        kept = number[self.view] >= 0
        arm = Arm(self.arm.q_rad[views], self.arm.T_flange_ee) if self.arm else None
        points_m, pixels, view = self.points_m[kept], self.pixels[kept], number[self.view[kept]]
        return replace(self, hands=self.hands[views], points_m=points_m, pixels=pixels, view=view, arm=arm)

    def after(self, step: Array) -> Chain:
        """Return the chain after a step: camera (6), board (6), and of what else there is size (1), joints (5)."""
        result = replace(self, X=moved(self.X, step[:6]), Z=moved(self.Z, step[6:12]))
        if len(step) > 12:
            result = replace(result, size=self.size * (1.0 + float(step[12])))
        if len(step) > 13 and self.arm is not None:
            offsets = step[13:] if self.offsets_rad is None else self.offsets_rad + step[13:]
            q = self.arm.q_rad + np.concatenate(([0.0], offsets, [0.0]))
            hands = np.stack([posture(row, self.arm.T_flange_ee).pose for row in q])
            result = replace(result, offsets_rad=offsets, hands=inverses(hands) if self.inverted else hands)
        return result

    def residuals(self) -> tuple[Array, Array]:
        """Return pixels that are too far right and down (M, 2) and their derivative by where the hand is (M, 2, 6)."""
        p_hand, p_camera = self._points()
        pixels, slope = project(p_camera, self.intrinsics)
        return pixels - self.pixels, _by_step(slope @ self.X[:3, :3].T, p_hand, -1.0)

    def _points(self) -> tuple[Array, Array]:
        p = self.size * self.points_m @ self.Z[:3, :3].T + self.Z[:3, 3]
        back = inverses(self.hands)[self.view]
        p_hand = np.einsum("nij,nj->ni", back[:, :3, :3], p) + back[:, :3, 3]
        return p_hand, (p_hand - self.X[:3, 3]) @ self.X[:3, :3]

    def by_camera_and_board(self) -> Array:
        """Return the derivative of the residuals by camera (6), board (6) and the board's size (1): (M, 2, 13)."""
        _, p_camera = self._points()
        slope = project(p_camera, self.intrinsics)[1]
        onto = np.einsum("ij,njk->nik", self.X[:3, :3].T, inverses(self.hands)[self.view][:, :3, :3]) @ self.Z[:3, :3]
        on_board = slope @ onto
        grown = np.einsum("nij,nj->ni", on_board, self.size * self.points_m)[:, :, None]
        camera = _by_step(slope, p_camera, -1.0)
        return np.concatenate((camera, _by_step(on_board, self.size * self.points_m, 1.0), grown), axis=2)

    def linear(self) -> Linear:
        """Return the chain view by view, every view's pixels reduced to the step of its hand that explains them."""
        r, by_hand = self.residuals()
        J = self.by_camera_and_board()
        count, last = len(self.hands), J.shape[2]
        gram, right, square = np.zeros((count, 6, 6)), np.zeros((count, 6, last + 1)), float((r * r).sum())
        np.add.at(gram, self.view, np.einsum("nij,nik->njk", by_hand, by_hand))
        everything = np.concatenate((J, r[:, :, None]), axis=2)
        np.add.at(right, self.view, np.einsum("nij,nik->njk", by_hand, everything))
        solved = np.linalg.solve(gram, right)
        y, A = solved[:, :, last], solved[:, :, :last]
        if self.arm is not None:
            A = np.concatenate((A, self._by_joints()), axis=2)
        explained = float(np.einsum("ni,ni->", right[:, :, last], y))
        lever = np.zeros((count, 3))
        np.add.at(lever, self.view, self._points()[0])
        lever /= np.bincount(self.view, minlength=count)[:, None]
        return Linear(
            np.asarray(y, float),
            np.asarray(A, float),
            gram,
            max(square - explained, 1e-12),
            2 * len(r) - 6 * count,
            lever,
        )

    def _by_joints(self) -> Array:
        """How a hand steps, in its own axes, when the joints 2 to 6 turn: (N, 6, 5)."""
        assert self.arm is not None
        offsets = np.zeros(7)
        if self.offsets_rad is not None:
            offsets[1:6] = self.offsets_rad
        steps = []
        for q in self.arm.q_rad + offsets:
            at = posture(q, self.arm.T_flange_ee)
            linear, angular = at.jacobian()[:3, 1:6], at.jacobian()[3:, 1:6]
            if self.inverted:  # a step of T_ee_base, in the base's axes, is the step of the base's origin, backwards
                steps.append(-np.vstack((linear - np.cross(angular, at.pose[:3, 3], axisa=0, axisc=0), angular)))
            else:
                steps.append(np.vstack((at.pose[:3, :3].T @ linear, at.pose[:3, :3].T @ angular)))
        return np.stack(steps)


def _by_step(slope: Array, points_m: Array, sign: float) -> Array:
    """Derivative of pixels, (M, 2, 3) by a point, by a step of the frame that the points are in: (M, 2, 6)."""
    x, y, z = points_m.T
    turn = np.zeros((len(points_m), 3, 3))
    turn[:, 0, 1], turn[:, 0, 2], turn[:, 1, 2] = z, -y, x  # -[p]x
    turn -= turn.transpose(0, 2, 1)
    return sign * np.concatenate((slope, slope @ turn), axis=2)


def fit_pixels(chain: Chain, sd_px: float) -> Chain:
    """Return the chain with the camera and the board that the pixels speak for, by a robust loss over all of them."""

    def off(step: Array) -> Array:
        return np.asarray(chain.after(step).residuals()[0].ravel() / sd_px)

    def slope(step: Array) -> Array:
        # by a step after this one: the same to first order, and exact where the steps have become small
        return np.asarray(chain.after(step).by_camera_and_board()[:, :, :12].reshape(-1, 12) / sd_px)

    for _ in range(3):
        found = least_squares(off, np.zeros(12), jac=slope, loss="soft_l1", f_scale=3.0, x_scale="jac", max_nfev=30)
        chain = chain.after(found.x)
        if np.abs(found.x).max() < 1e-4:
            break
    return chain
