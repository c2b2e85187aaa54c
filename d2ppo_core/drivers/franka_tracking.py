"""The tracking controller behind franky: its gains, what is fed forward, and an elbow that rests with the hand."""

from dataclasses import replace
from typing import Any

import numpy as np

from d2ppo_core.drivers.franka_config import FrankaConfig
from d2ppo_core.geometry import Array, RigidState
from d2ppo_core.runtime.control.trajectory import Motion
from d2ppo_core.runtime.safety.kinematics import posture

_FRICTION_LIMIT_NM = 3.0
"""Greatest torque of a joint that compensates friction."""
_RESTING_NM_RAD = 0.1
"""Stiffness of the elbow while the hand is to rest. Without any, franky would take its damping away as well."""
_GAINS_S = 0.03
"""Time constant with which that stiffness changes."""
_LOST = 0.15
"""A direction of the hand whose singular value is smaller is about to be lost. There the inertia that franky feeds
forward grows without bound; at home it is 0.16 for a Panda."""


class ImpedanceTracking:
    """One session of franky's impedance controller, which holds the present pose until the first reference."""

    def __init__(self, franky: Any, robot: Any, config: FrankaConfig) -> None:
        """Start it on a ``franky.Robot``; raises whatever franky does."""
        self._franky, self._robot, self._config = franky, robot, config
        damping = [2.0 * (config.stiffness_n_m * config.effective_mass_kg) ** 0.5] * 3
        damping += [2.0 * (config.stiffness_nm_rad * config.effective_inertia_kg_m2) ** 0.5] * 3
        self._resting = False
        self._tracker = franky.CartesianImpedanceTracker(
            robot,
            translational_stiffness=config.stiffness_n_m,
            rotational_stiffness=config.stiffness_nm_rad,
            damping=np.array(damping),
            translational_error_clip=np.full(3, config.max_force_n / config.stiffness_n_m),
            rotational_error_clip=np.full(3, config.max_torque_nm / config.stiffness_nm_rad),
            posture_task=franky.PostureTask(robot.state.q, config.posture_stiffness_nm_rad),
            friction=self._friction(),
            gains_time_constant=_GAINS_S,
        )

    def send(self, reference: RigidState) -> None:
        """Set pose and twist, and feed forward the acceleration of a reference that has one."""
        self._rest_elbow(not reference.twist.any())
        franky, twist = self._franky, franky_twist(self._franky.Twist, reference.twist)
        if not isinstance(reference, Motion) or not reference.acceleration.any():
            self._tracker.set_target(franky.Affine(reference.pose), twist)
            return
        state = self._robot.state
        kept = without_lost(reference.acceleration, np.asarray(state.q), np.asarray(state.O_T_EE.matrix))
        self._tracker.set_target(franky.Affine(reference.pose), twist, franky_twist(franky.TwistAcceleration, kept))

    def _rest_elbow(self, resting: bool) -> None:
        """Let the elbow stay where it is at rest, damped: going back to its posture would take it seconds."""
        stiffness = self._config.posture_stiffness_nm_rad
        if resting == self._resting or stiffness <= _RESTING_NM_RAD:
            return
        gains = self._franky.NullspaceGains()
        gains.posture_stiffness = np.full(7, _RESTING_NM_RAD if resting else stiffness)
        gains.posture_damping = np.full(7, 2.0 * stiffness**0.5)
        self._tracker.set_gains(nullspace_gains=gains)
        self._resting = resting

    def _friction(self) -> Any:
        """Return franky's compensation of the friction that the robot leaves; none by default."""
        friction, config = self._franky.FrictionCompensationParams(), self._config
        friction.coulomb = config.friction_nm * np.array([1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5])
        friction.viscous = np.full(7, config.friction_nms_rad)
        friction.max_torque = np.full(7, _FRICTION_LIMIT_NM)
        return friction


def franky_twist(kind: Any, values: Array) -> Any:
    """Make franky's object out of linear and angular values (6,)."""
    return kind(values[:3], values[3:])


def without_lost(acceleration: Array, q_rad: Array, pose: Array) -> Array:
    """Return the acceleration (6,) of the hand without what lies along directions that the arm is about to lose.

    Args:
        acceleration: Linear m/s² and angular rad/s² in the base frame.
        q_rad: (7,) joint angles.
        pose: 4×4 of the end effector at these angles.
    """
    directions, values, _ = np.linalg.svd(replace(posture(q_rad, np.eye(4)), pose=pose).jacobian())
    kept = np.minimum(1.0, (values / _LOST) ** 2)
    return np.asarray(directions @ (kept * (directions.T @ acceleration)))
