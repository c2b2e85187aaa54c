"""Turns a chunk of robosuite OSC_POSE deltas into absolute, timed end-effector targets.

In training each action moves the goal of an operational-space controller: goal = pose ⊕ scaled delta, held for one
control tick. That controller decouples the arm's inertia, so the hand obeys ẍ = C (kp (goal − x) − kd ẋ). Integrating
this law gives the motion which the action *caused* in training: an absolute trajectory that may be interpolated,
delayed or cut by time on any robot, while raw deltas may not.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.linalg import expm
from scipy.spatial.transform import Rotation

from d2ppo_core.bundle import ActionSpec
from d2ppo_core.errors import ConfigError
from d2ppo_core.geometry import Array, inverse, transform_from


@dataclass(frozen=True)
class RigidState:
    """Pose (4×4) and twist (linear m/s, angular rad/s; both in the base frame) of a frame of the arm."""

    pose: Array
    twist: Array

    def of_frame(self, T_this_other: Array) -> "RigidState":
        """Return the state of another frame that is fixed to this one."""
        arm_m = self.pose[:3, :3] @ T_this_other[:3, 3]
        linear = self.twist[:3] + np.cross(self.twist[3:], arm_m)
        return RigidState(self.pose @ T_this_other, np.concatenate([linear, self.twist[3:]]))


@dataclass(frozen=True)
class Targets:
    """Timed targets: entry i is due i periods after the start, entry 0 is the start itself.

    Attributes:
        states: Pose and twist of the end effector in the base frame, one per target.
        gripper_width_m: Opening wanted from each target on, shape (N,).
        period_s: Time between two targets.
    """

    states: tuple[RigidState, ...]
    gripper_width_m: Array
    period_s: float


def leashed(reference: RigidState, measured: RigidState, max_lead_m: float, max_lead_rad: float) -> RigidState:
    """Return the reference, pulled back to within a bounded lead over the measured pose.

    A chunk starts from what the arm is *commanded* to do, so that friction and lag do not eat a little of every
    chunk; the bound keeps an arm that is blocked by contact from winding the reference up.

    Raises:
        ConfigError: A bound is not positive.
    """
    if max_lead_m <= 0.0 or max_lead_rad <= 0.0:
        raise ConfigError(f"leads must be positive, got {max_lead_m} m and {max_lead_rad} rad")
    lead_m = reference.pose[:3, 3] - measured.pose[:3, 3]
    lead_rad = Rotation.from_matrix(reference.pose[:3, :3] @ measured.pose[:3, :3].T).as_rotvec()
    short_m = lead_m * min(1.0, max_lead_m / max(float(np.linalg.norm(lead_m)), 1e-12))
    short_rad = lead_rad * min(1.0, max_lead_rad / max(float(np.linalg.norm(lead_rad)), 1e-12))
    rotation = Rotation.from_rotvec(short_rad) * Rotation.from_matrix(measured.pose[:3, :3])
    return RigidState(transform_from(measured.pose[:3, 3] + short_m, rotation), reference.twist)


def targets_from_deltas(
    actions: Array, start: RigidState, spec: ActionSpec, T_ee_site: Array, settle_ticks: int
) -> Targets:
    """Integrate a chunk of deltas through the training controller's response.

    After the last action its goal is held for ``settle_ticks`` more periods, in which the arm comes to rest by the
    same law: a chunk that is never followed by another one ends in a smooth stop.

    Args:
        actions: (Tp, 7) entries in [−1, 1]: translation, rotation vector, gripper (+1 closes).
        start: State of the end effector at the chunk's capture time.
        spec: Scales, rate and gains of the training controller.
        T_ee_site: The controlled site in the end-effector frame.
        settle_ticks: Periods appended after the last action.

    Returns:
        1 + Tp + settle_ticks targets of the end effector.
    """
    if actions.ndim != 2 or actions.shape[1] != spec.dim:
        raise ConfigError(f"actions must have shape (Tp, {spec.dim}), got {actions.shape}")
    period_s = 1.0 / spec.control_hz
    site = start.of_frame(T_ee_site)
    goal = site.pose
    states = [start]
    clipped = np.clip(actions, -1.0, 1.0)
    for tick in range(len(actions) + settle_ticks):
        if tick < len(actions):
            goal = _goal(site.pose, clipped[tick], spec)
        site = _respond(site, goal, spec, period_s)
        states.append(site.of_frame(inverse(T_ee_site)))
    states[-1] = RigidState(states[-1].pose, np.zeros(6))
    closed = np.append(clipped[:, 6], np.full(settle_ticks + 1, clipped[-1, 6])) > 0.0
    return Targets(tuple(states), np.where(closed, 0.0, spec.gripper_open_width_m), period_s)


def _goal(pose: Array, action: Array, spec: ActionSpec) -> Array:
    """Goal of the controller: pose ⊕ scaled delta, the rotation applied in the base frame."""
    turn = Rotation.from_rotvec(action[3:6] * spec.rotation_scale_rad)
    return transform_from(
        pose[:3, 3] + action[:3] * spec.translation_scale_m, turn * Rotation.from_matrix(pose[:3, :3])
    )


def _respond(state: RigidState, goal: Array, spec: ActionSpec, time_s: float) -> RigidState:
    """Exact solution of ë + C (kd ė + kp e) = 0 after ``time_s``, for the error e of position and rotation."""
    turn = Rotation.from_matrix(state.pose[:3, :3] @ goal[:3, :3].T).as_rotvec()
    error = np.concatenate([state.pose[:3, 3] - goal[:3, 3], turn, state.twist])
    error = _propagator(spec, time_s) @ error
    rotation = Rotation.from_rotvec(error[3:6]) * Rotation.from_matrix(goal[:3, :3])
    return RigidState(transform_from(goal[:3, 3] + error[:3], rotation), error[6:])


@lru_cache(maxsize=8)
def _propagator(spec: ActionSpec, time_s: float) -> Array:
    """(12, 12) transition matrix of (e, ė)."""
    coupling = np.asarray(spec.coupling).reshape(6, 6)
    damping = 2.0 * spec.damping_ratio * np.sqrt(spec.kp)
    system = np.block([[np.zeros((6, 6)), np.eye(6)], [-spec.kp * coupling, -damping * coupling]])
    return np.asarray(expm(system * time_s))
