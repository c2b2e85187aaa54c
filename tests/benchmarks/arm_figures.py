"""Figures out of the robot's own record of a motion (arm_robot.ROW) and the references that it was given."""

import numpy as np
from scipy.spatial.transform import Rotation

from d2ppo_core.runtime.safety.cell import load_cell
from d2ppo_core.runtime.safety.kinematics import posture
from d2ppo_core.runtime.safety.robots import PANDA

PERIOD_MS = 8
"""Of the references."""
WARM_UP_S = 3.0
"""Of a motion, until tracking counts."""
STANDSTILL_RAD_S, STANDSTILL_M_S = 0.01, 0.005
"""A slower joint, or hand, stands."""
_REST_MS = 200
"""It rests when it stands for so long."""
_HAND_MS = 10
"""The hand's speed is that over so long."""
_LAGS_MS = range(0, 121)
_FILTER_GAIN = 1e-3 / (1e-3 + 1.0 / (2.0 * np.pi * 100.0))
"""Of libfranka's low-pass filter of commands, 100 Hz at 1 kHz."""
_SAME_NM = 1e-8


def rows_between(record: np.ndarray, begin_ms: int, end_ms: int) -> np.ndarray:
    """The rows of these milliseconds; RuntimeError when one is missing."""
    first = int(np.searchsorted(record["robot_ms"], begin_ms))
    rows = record[first : first + end_ms - begin_ms]
    if len(rows) != end_ms - begin_ms or rows["robot_ms"][0] != begin_ms or rows["robot_ms"][-1] != end_ms - 1:
        raise RuntimeError(f"the record has no full stretch from {begin_ms} to {end_ms} ms")
    return rows


def joint_shares(rows: np.ndarray) -> dict[str, float]:
    """Worst joint velocity, acceleration and jerk over the Panda's limits."""
    worst = dict.fromkeys(("velocity", "acceleration", "jerk"), 0.0)
    for joint in range(7):
        rate = rows["dq_rad_s"][:, joint].astype(float)
        for order, (name, limit) in enumerate(
            zip(worst, (PANDA.dq_rad_s, PANDA.ddq_rad_s2, PANDA.dddq_rad_s3), strict=True)
        ):
            share = np.abs(np.diff(rate, order)) * 1e3**order / limit[joint]
            worst[name] = max(worst[name], float(share.max()))
    return {f"worst_joint_{name}_over_limit": round(value, 4) for name, value in worst.items()}


def tracking(rows: np.ndarray, at_ms: np.ndarray, poses: np.ndarray) -> dict[str, float]:
    """How closely the arm follows references (N, 4, 4) given at `at_ms` (N,), after the best constant lag."""
    inside = (at_ms >= rows["robot_ms"][0]) & (at_ms < rows["robot_ms"][-1] - _LAGS_MS[-1])
    index, poses = at_ms[inside] - rows["robot_ms"][0], poses[inside]
    position = rows["pose"][:, :, 3].astype(float)

    def errors_m(lag_ms: int) -> np.ndarray:
        return np.linalg.norm(position[index + lag_ms] - poses[:, :3, 3], axis=1)

    rms_m = {lag_ms: float(np.sqrt(np.mean(errors_m(lag_ms) ** 2))) for lag_ms in _LAGS_MS}
    lag_ms = min(rms_m, key=rms_m.__getitem__)
    errors = errors_m(lag_ms)
    turned = Rotation.from_matrix(rows["pose"][index + lag_ms, :, :3].astype(float))
    angles = (turned * Rotation.from_matrix(poses[:, :3, :3]).inv()).magnitude()
    return {
        "lag_ms": lag_ms,
        "rms_mm": round(1e3 * rms_m[lag_ms], 3),
        "p99_mm": round(1e3 * float(np.percentile(errors, 99)), 3),
        "max_mm": round(1e3 * float(errors.max()), 3),
        "rms_without_lag_mm": round(1e3 * rms_m[0], 3),
        "rotation_rms_deg": round(float(np.degrees(np.sqrt(np.mean(angles**2)))), 3),
    }


def motion_figures(record: np.ndarray, began_ms: int, at_ms: np.ndarray, poses: np.ndarray) -> dict:
    """Shape of the motion since its beginning, and tracking after the warm-up."""
    warm_ms = began_ms + round(1e3 * WARM_UP_S)
    end_ms = int(at_ms[-1])
    speed = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1) / (1e-3 * np.maximum(np.diff(at_ms), 1))
    return {
        **joint_shares(rows_between(record, began_ms, end_ms)),
        "reference_speed_m_s": quantiles(speed, 3),
        "tracking": tracking(rows_between(record, warm_ms, end_ms), at_ms, poses),
    }


def pace(at_ms: np.ndarray, wall_ns: np.ndarray | None) -> dict:
    """Rate of the references and the error of their period, on the robot's clock and on the wall's."""
    clocks = {"robot_clock": at_ms.astype(float)}
    if wall_ns is not None:
        clocks["wall_clock"] = 1e-6 * wall_ns
    return {
        name: {
            "rate_hz": round(1e3 * (len(ms) - 1) / (ms[-1] - ms[0]), 2),
            "period_error_ms": quantiles(np.abs(np.diff(ms) - PERIOD_MS), 3),
        }
        for name, ms in clocks.items()
    }


def standstill(rows: np.ndarray) -> int:
    """First row after which no joint moves; RuntimeError when they never rest."""
    return _after_last((np.abs(rows["dq_rad_s"]) >= STANDSTILL_RAD_S).any(axis=1))


def hand_standstill(rows: np.ndarray) -> int:
    """The same for the hand alone: the elbow may still go back to its posture."""
    position = rows["pose"][:, :, 3].astype(float)
    way = np.linalg.norm(position[_HAND_MS:] - position[:-_HAND_MS], axis=1)
    return _after_last(way >= 1e-3 * _HAND_MS * STANDSTILL_M_S)


def least_singular_value(q_rad: np.ndarray) -> float:
    """How near the arm is to losing a direction of the Franka Hand; m and rad alike."""
    at = posture(q_rad, load_cell("sim_lift").tool.T_flange_ee)
    return float(np.linalg.svd(at.jacobian(), compute_uv=False)[-1])


def reference_at_rest(at_ms: np.ndarray, poses: np.ndarray, end_ms: int) -> int:
    """Time (ms) of the first tick since which the reference (N, 4, 4) has not moved, seen from `end_ms`."""
    until = int(np.searchsorted(at_ms, end_ms))
    moves = np.flatnonzero(np.abs(np.diff(poses[:until], axis=0)).max(axis=(1, 2)) > 1e-9)
    return int(at_ms[moves[-1] + 1])


def _after_last(moving: np.ndarray) -> int:
    moved = np.flatnonzero(moving)
    first = int(moved[-1]) + 1 if len(moved) else 0
    if len(moving) - first < _REST_MS:
        raise RuntimeError(f"the arm did not rest within {len(moving)} ms")
    return first


def slowing(rows: np.ndarray) -> int:
    """First row since which the hand is slower than nine tenths of its speed in the beginning."""
    position = rows["pose"][:, :, 3].astype(float)
    speed = np.linalg.norm(position[_HAND_MS:] - position[:-_HAND_MS], axis=1)
    return _after_last(speed >= 0.9 * speed[0])


def torque_stop(rows: np.ndarray, number: np.dtype) -> int:
    """First row, after the first two, whose command is franky's stop law.

    The law begins by repeating the torque that the controller before it wanted, in all joints and to the last digit,
    which a controller of a moving arm never does. What travels is that torque behind libfranka's low-pass filter,
    which starts from the torque in the robot's state, a `number` on the wire; it is taken off here.
    """
    tau = rows["tau_nm"]
    before = tau[:-1].astype(number).astype(float)
    wanted = (tau[1:] - (1.0 - _FILTER_GAIN) * before) / _FILTER_GAIN
    same = (np.abs(np.diff(wanted, axis=0)) < _SAME_NM).all(axis=1) & rows["moving"][2:]
    if not same.any():
        raise RuntimeError("no cycle in which the stop law began")
    return 2 + int(np.argmax(same))


def quantiles(values, digits: int = 2) -> dict[str, float]:
    """p50, p99 and max."""
    p50, p99 = np.percentile(values, (50, 99))
    return {
        "p50": round(float(p50), digits),
        "p99": round(float(p99), digits),
        "max": round(float(max(values)), digits),
    }
