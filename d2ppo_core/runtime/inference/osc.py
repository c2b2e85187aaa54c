"""Turns a chunk of a policy's actions into absolute, timed end-effector targets.

In training each action sets the goal of an operational-space controller, held for one control tick: pose ⊕ scaled
delta, or the goal itself. That controller decouples the arm's inertia, so the hand obeys
ẍ = C (kp (goal − x) − kd ẋ). Integrating this law gives the motion which the actions *caused* in training: a
trajectory that may be interpolated, delayed or cut by time on any robot, while raw deltas may not, and which no
jump of a goal can tear.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.linalg import expm
from scipy.spatial.transform import Rotation

from d2ppo_core.actions import rotations_from_6d
from d2ppo_core.bundle import ActionSpec
from d2ppo_core.errors import ActionError, ConfigError
from d2ppo_core.geometry import Array, RigidState, inverse, rotation_of, transform_from


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
    _refuse_other_shapes(actions, spec)
    clipped = np.clip(actions, -1.0, 1.0)
    goal = start.of_frame(T_ee_site).pose

    def goal_from(pose: Array, tick: int) -> Array:
        nonlocal goal
        goal = _moved(pose, clipped[tick, :6], spec) if tick < len(actions) else goal
        return goal

    return _integrate(goal_from, clipped[:, 6], start, spec, T_ee_site, settle_ticks)


def targets_from_goals(
    actions: Array, start: RigidState, spec: ActionSpec, T_world_base: Array, T_ee_site: Array, settle_ticks: int
) -> Targets:
    """Let the training controller pursue a chunk of goals, as ``targets_from_deltas`` does with deltas.

    As in the training worlds, a goal counts only as far as a delta of 1 would reach from where the arm then is.

    Args:
        actions: (Tp, 10) goals in the world frame: position of the site, two columns of the hand's rotation, gripper.
        start: As for ``targets_from_deltas``.
        spec: Likewise.
        T_world_base: The robot's base in the world frame.
        T_ee_site: Likewise.
        settle_ticks: Likewise.

    Raises:
        ActionError: A goal is not finite or its rotation is none.
    """
    _refuse_other_shapes(actions, spec)
    rotations, valid = rotations_from_6d(actions[:, 3:9])
    if not np.isfinite(actions).all() or not valid.all():
        worst = int(np.argmin(np.isfinite(actions).all(axis=1) & valid))
        raise ActionError(f"goal {worst} of the chunk is no pose: {np.array2string(actions[worst], precision=3)}")
    T_base_world = inverse(T_world_base)
    goals = np.tile(np.eye(4), (len(actions), 1, 1))
    goals[:, :3, 3] = actions[:, :3] @ T_base_world[:3, :3].T + T_base_world[:3, 3]
    goals[:, :3, :3] = T_base_world[:3, :3] @ rotations @ T_ee_site[:3, :3]

    def goal_from(pose: Array, tick: int) -> Array:
        goal = goals[min(tick, len(goals) - 1)]
        turn = Rotation.from_matrix(goal[:3, :3] @ pose[:3, :3].T).as_rotvec()
        delta = np.concatenate([(goal[:3, 3] - pose[:3, 3]) / spec.translation_scale_m, turn / spec.rotation_scale_rad])
        return _moved(pose, delta.clip(-1.0, 1.0), spec)

    return _integrate(goal_from, actions[:, 9], start, spec, T_ee_site, settle_ticks)


def _refuse_other_shapes(actions: Array, spec: ActionSpec) -> None:
    if actions.ndim != 2 or actions.shape[1] != spec.arm_dim:
        raise ConfigError(f"actions must have shape (Tp, {spec.arm_dim}), got {actions.shape}")


def _integrate(
    goal_from: Callable[[Array, int], Array],
    gripper: Array,
    start: RigidState,
    spec: ActionSpec,
    T_ee_site: Array,
    settle_ticks: int,
) -> Targets:
    """Follow the goals that ``goal_from(pose of the site, tick)`` names, for the ticks of ``gripper`` and some more."""
    period_s = 1.0 / spec.control_hz
    site, T_site_ee = start.of_frame(T_ee_site), inverse(T_ee_site)
    states = [start]
    for tick in range(len(gripper) + settle_ticks):
        site = _respond(site, goal_from(site.pose, tick), spec, period_s)
        states.append(site.of_frame(T_site_ee))
    states[-1] = RigidState(states[-1].pose, np.zeros(6))
    closed = np.append(gripper, np.full(settle_ticks + 1, gripper[-1])) > 0.0
    return Targets(tuple(states), np.where(closed, 0.0, spec.gripper_open_width_m), period_s)


def _moved(pose: Array, delta: Array, spec: ActionSpec) -> Array:
    """Goal of the controller: pose ⊕ scaled delta (6,), the rotation applied in the base frame."""
    turn = Rotation.from_rotvec(delta[3:] * spec.rotation_scale_rad)
    return transform_from(pose[:3, 3] + delta[:3] * spec.translation_scale_m, turn * rotation_of(pose))


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
