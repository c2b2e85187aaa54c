"""Where a camera is on the hand, or beside the robot, and how well that is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from calibration.board import Detection
from calibration.chain import Arm, Bools, Chain, Linear
from calibration.estimate import (
    CONTRADICTS,
    EXPLAINS,
    Fit,
    Noise,
    held_out,
    interval_factor,
    likely_noise,
    robust_fit,
    solve,
)  # fmt: skip
from calibration.start import apart, start_chain
from d2ppo_core.calibrated import Intrinsics
from d2ppo_core.errors import CalibrationError
from d2ppo_core.geometry import Array

LEAST_VIEWS = 6
LEAST_TURN_DEG = 4.0
"""Standard deviation of the hand's rotations about their second axis, below which the chain is not determined."""
FULL_TURN_DEG = 15.0
"""The same from which more hardly helps."""
MOST_LEFT_OUT = 1 / 3
_SIZE_OFF, _MOVED_M, _MOVED_RAD = 0.005, 0.001, 0.0035
_LOST_M, _LOST_RAD = 0.02, 0.05
_CAUSES = (
    "the camera or the board was loose, the hand's poses are not of these pictures, or the intrinsics another camera's"
)
_KNOWN_RAD = np.radians(0.1)
_BETTER = 0.9
_BASIC, _SIZED, _JOINTS = [*range(12)], [*range(13)], [*range(12), *range(13, 18)]


@dataclass(frozen=True)
class ViewResult:
    """One picture: what it says alone, and how far it is off from what all the others say."""

    picture: str
    used: bool
    held_out_mm: float
    held_out_deg: float
    pixels_rms: float


@dataclass(frozen=True)
class HandEye:
    """A hand-eye calibration.

    Attributes:
        chain: Of the views that had a part; X is the result.
        covariance: (6, 6) of X in the camera's own axes, m and rad.
        noise: What the views speak for.
        views: Each of them, those that were left out too.
        diversity: 0 to 1.
        turn_deg: (3,) standard deviations of the hand's rotations about their principal axes, the greatest first.
        joint_offsets_rad: (7,), or nothing where the data carried none.
        offsets_why: Why there are none, or that there are.
    """

    chain: Chain
    covariance: Array
    noise: Noise
    views: tuple[ViewResult, ...]
    diversity: float
    turn_deg: Array
    joint_offsets_rad: tuple[float, ...]
    offsets_why: str

    @property
    def held_out_mm(self) -> float:
        """RMS over the views that had a part."""
        return float(np.sqrt(np.mean([view.held_out_mm**2 for view in self.views if view.used])))

    @property
    def held_out_deg(self) -> float:
        """RMS over the views that had a part."""
        return float(np.sqrt(np.mean([view.held_out_deg**2 for view in self.views if view.used])))

    @property
    def interval(self) -> Array:
        """(6,) half of the 95 % interval along and about the camera's own axes: m and rad."""
        return np.asarray(np.sqrt(np.diag(self.covariance)) * self._reach)

    @property
    def position_interval(self) -> Array:
        """(3,) half of the 95 % interval of the camera's position as X has it, m."""
        turn = self.chain.X[:3, :3]
        return np.asarray(np.sqrt(np.diag(turn @ self.covariance[:3, :3] @ turn.T)) * self._reach)

    @property
    def _reach(self) -> float:
        return interval_factor(len(self.chain.hands), 12 + 5 * bool(self.joint_offsets_rad))

    @property
    def worst(self) -> ViewResult:
        """The view to take again first: one that was left out, or else the one that is off most."""
        return max(self.views, key=lambda view: (not view.used, view.held_out_mm))


def turns_deg(hands: Array) -> Array:
    """Return standard deviations of rotations (N, 4, 4) about their principal axes, the greatest first."""
    turns = Rotation.from_matrix(hands[:, :3, :3])
    vectors = (turns.mean().inv() * turns).as_rotvec()
    return np.degrees(np.sqrt(np.maximum(np.linalg.eigvalsh(vectors.T @ vectors / len(vectors)), 0.0)))[::-1]


def solve_hand_eye(
    hands: Array,
    detections: Sequence[Detection],
    intrinsics: Intrinsics,
    names: Sequence[str],
    *,
    mount: str = "hand",
    arm: Arm | None = None,
    square_m: float = 0.0,
) -> HandEye:
    """Return camera and board, jointly from all views.

    Args:
        hands: T_base_ee, (N, 4, 4).
        detections: The board in each picture.
        intrinsics: The camera's.
        names: Of the pictures, for messages.
        mount: `hand`: the camera rides on the hand; `base`: it stands, and the hand carries the board.
        arm: Joint angles, where offsets of joints may be looked for.
        square_m: Of the board, for messages.

    Raises:
        CalibrationError: too few or too similar poses, another size of board, a camera that moved meanwhile, or views
            that contradict one another.
    """
    turn_deg = _refuse_similar(hands)
    start = start_chain(hands, detections, intrinsics, names, mount)
    sane = np.flatnonzero(start.sane)
    _refuse_many(start.sane, names)
    chain = replace(start.chain.only(sane), arm=None if arm is None else Arm(arm.q_rad[sane], arm.T_flange_ee))
    sane_names = [names[i] for i in sane.tolist()]
    with_offsets, why = _explain(chain, sane_names, square_m)
    chain, kept, fit = _refine(chain, _BASIC)
    if with_offsets:
        chain, kept, fit, why = _choose((chain, kept, fit), _refine(chain, _JOINTS))
    believed = start.sane.copy()
    believed[sane] = kept
    _refuse_many(believed, names)
    if fit.noise.hand_m > _LOST_M or fit.noise.hand_rad > _LOST_RAD:
        raise CalibrationError(
            f"the views contradict one another, by {1000 * fit.noise.hand_m:.0f} mm and "
            f"{np.degrees(fit.noise.hand_rad):.1f}° each: {_CAUSES}"
        )
    gross = [ViewResult(names[i], False, *apart(start, i), np.inf) for i in np.flatnonzero(~start.sane).tolist()]
    views = (*_by_view(chain, kept, fit.noise, sane_names), *gross)
    used_chain = chain.only(np.flatnonzero(kept))
    offsets = () if chain.offsets_rad is None else (0.0, *map(float, chain.offsets_rad), 0.0)
    return HandEye(
        chain=used_chain,
        covariance=fit.covariance[:6, :6],
        noise=fit.noise,
        views=tuple(sorted(views, key=lambda view: names.index(view.picture))),
        diversity=float(min(1.0, turns_deg(used_chain.hands)[1] / FULL_TURN_DEG)),
        turn_deg=turn_deg,
        joint_offsets_rad=offsets,
        offsets_why=why,
    )


def _refuse_similar(hands: Array) -> Array:
    """Return the spread of the hand's turns. Raises CalibrationError for too few poses, or too similar ones."""
    if len(hands) < LEAST_VIEWS:
        raise CalibrationError(f"{len(hands)} usable views, wanted {LEAST_VIEWS} or better 15: take more pictures")
    turn_deg = turns_deg(hands)
    if turn_deg[1] < LEAST_TURN_DEG:
        raise CalibrationError(
            f"the poses are too similar: the hand turned by {turn_deg[0]:.1f}° about one axis, {turn_deg[1]:.1f}° "
            f"about a second (standard deviations), wanted {LEAST_TURN_DEG:g}°, better {FULL_TURN_DEG:g}°: tilt both"
        )
    return turn_deg


def _refuse_many(kept: Bools, names: Sequence[str]) -> None:
    """Raise CalibrationError where more than a third of the views is not believed."""
    if kept.sum() >= len(kept) * (1.0 - MOST_LEFT_OUT):
        return
    bad = ", ".join(name for name, good in zip(names, kept, strict=True) if not good)
    raise CalibrationError(f"{(~kept).sum()} of {len(kept)} views contradict the others ({bad}): {_CAUSES}")


def _explain(chain: Chain, names: Sequence[str], square_m: float) -> tuple[bool, str]:
    """Return whether offsets of joints explain what camera and board do not, and why (not).

    Raises:
        CalibrationError: another size of the board explains it better, or a camera that moved.
    """
    linear = chain.linear()
    plain = robust_fit(linear, linear.A[:, :, _BASIC])
    found: dict[str, tuple[float, str]] = {}
    size = robust_fit(linear, linear.A[:, :, :13])
    if abs(size.step[12]) > _SIZE_OFF:
        found["size"] = (size.cost, "")
    count = len(linear.y)
    for split in range(4, count - 3):
        later = np.arange(count) >= split
        A = np.concatenate((linear.A[:, :, :12], linear.A[:, :, :6] * later[:, None, None]), axis=2)
        moved = robust_fit(linear, A)
        by_m, by_rad = np.linalg.norm(moved.step[12:15]), np.linalg.norm(moved.step[15:])
        if (by_m > _MOVED_M or by_rad > _MOVED_RAD) and moved.cost < found.get("moved", (np.inf,))[0]:
            found["moved"] = (moved.cost, _moved_message(names[split - 1], names[split], float(by_m), float(by_rad)))
    why = "no joint angles in the capture" if chain.arm is None else "offsets of joints would not explain more"
    if chain.arm is not None:
        joints = robust_fit(linear, linear.A[:, :, _JOINTS])
        found["joints"] = (joints.cost, "")
    if not found:
        return False, why
    best = min(found, key=lambda name: found[name][0])
    if plain.cost - found[best][0] < EXPLAINS:
        return False, why
    if best == "size":
        raise CalibrationError(_size_message(_refine(chain, _SIZED)[0].size - 1.0, square_m))
    if best == "moved":
        raise CalibrationError(found[best][1])
    return True, ""


def _size_message(off: float, square_m: float) -> str:
    squares = f": {1000 * square_m * (1 + off):.2f} mm instead of {1000 * square_m:.2f} mm" if square_m else ""
    return (
        f"the hand's motion says that the board is {100 * abs(off):.1f} % {'larger' if off > 0 else 'smaller'} than "
        f"described{squares}: measure the print and give it with --square-mm (or the focal length is off by that)"
    )


def _moved_message(before: str, after: str, by_m: float, by_rad: float) -> str:
    return (
        f"the camera or the board moved between {before} and {after}, by {1000 * by_m:.1f} mm and "
        f"{np.degrees(by_rad):.2f}°: fasten both and capture anew"
    )


def _refine(chain: Chain, columns: list[int]) -> tuple[Chain, Bools, Fit]:
    """Return the chain at its most likely place, which views had a part, and the last fit."""
    linear = chain.linear()
    rough = robust_fit(linear, linear.A[:, :, columns])
    noise, step, kept = rough.noise, rough.step, rough.squared <= CONTRADICTS
    for _ in range(8):
        chain = chain.after(_whole(step, columns))
        linear = chain.linear()
        before, kept = kept, _believed(linear, noise)
        some = part(linear, kept)
        A = some.A[:, :, columns]
        noise = likely_noise(some, A, noise)
        fit = solve(some, A, noise)
        step = fit.step
        if (before == kept).all() and np.abs(step).max() < 1e-6:
            break
    return chain, kept, fit


def _believed(linear: Linear, noise: Noise) -> Bools:
    squared = np.einsum("ni,nij,nj->n", linear.y, np.linalg.inv(noise.covariance(linear)), linear.y)
    kept: Bools = squared <= CONTRADICTS
    if kept.sum() < LEAST_VIEWS - 1:
        kept = squared <= np.sort(squared)[LEAST_VIEWS - 2]
    return kept


def part(linear: Linear, kept: Bools) -> Linear:
    """Return what some views (N,) say; the sums over pixels stay those of all."""
    values = {name: getattr(linear, name)[kept] for name in ("y", "A", "information", "lever_m")}
    return replace(linear, **values)


def _whole(step: Array, columns: list[int]) -> Array:
    result = np.zeros(columns[-1] + 1)
    result[columns] = step
    return result


def _choose(plain: tuple[Chain, Bools, Fit], richer: tuple[Chain, Bools, Fit]) -> tuple[Chain, Bools, Fit, str]:
    """Return the fit with offsets of joints where each is known well and held-out views are predicted better."""
    sd = np.sqrt(np.diag(richer[2].covariance))[12:]
    if sd.max() > _KNOWN_RAD:
        return *plain, f"offsets of joints would be known to {np.degrees(sd.max()):.2f}° only, wanted 0.1°"
    both = plain[1] & richer[1]
    errors = []
    for chain, _, fit in (plain, richer):
        columns = _BASIC if chain.offsets_rad is None else _JOINTS
        some = part(chain.linear(), both)
        errors.append(float(np.sqrt(np.mean(held_out(some, some.A[:, :, columns], fit.noise)[0] ** 2))))
    if errors[1] > _BETTER * errors[0]:
        return *plain, f"offsets of joints lower the held-out error from {errors[0]:.2f} to {errors[1]:.2f} mm only"
    return *richer, f"offsets of joints lower the held-out error from {errors[0]:.2f} to {errors[1]:.2f} mm"


def _by_view(chain: Chain, kept: Bools, noise: Noise, names: Sequence[str]) -> list[ViewResult]:
    linear, columns = chain.linear(), _BASIC if chain.offsets_rad is None else _JOINTS
    some = part(linear, kept)
    off_mm, off_deg = np.zeros(len(kept)), np.zeros(len(kept))
    off_mm[kept], off_deg[kept] = held_out(some, some.A[:, :, columns], noise)
    lost = linear.y[~kept]  # the fit had no part of them already
    off_mm[~kept] = 1000.0 * np.linalg.norm(lost[:, :3] + np.cross(lost[:, 3:], linear.lever_m[~kept]), axis=1)
    off_deg[~kept] = np.degrees(np.linalg.norm(lost[:, 3:], axis=1))
    square = (chain.residuals()[0] ** 2).sum(axis=1)
    rms = np.sqrt(np.bincount(chain.view, square) / (2 * np.bincount(chain.view)))
    rows = zip(names, kept.tolist(), off_mm.tolist(), off_deg.tolist(), rms.tolist(), strict=True)
    return [ViewResult(*row) for row in rows]
