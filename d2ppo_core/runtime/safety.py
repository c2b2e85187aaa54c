"""Safety filter between the reference and the robot: pure numpy, no clock, no threads, no ROS."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from d2ppo_core.errors import ConfigError
from d2ppo_core.geometry import Array, transform_from
from d2ppo_core.runtime.osc import RigidState


@dataclass(frozen=True, kw_only=True)
class SafetyLimits:
    """What the commanded end effector may do.

    Attributes:
        workspace_min_m: Lower corner of the allowed box in the base frame.
        workspace_max_m: Upper corner.
        linear_speed_m_s: Greatest speed of the reference.
        angular_speed_rad_s: Greatest angular speed of the reference.
        braking_m_s2: Deceleration with which the reference approaches a wall of the box; a stop from full speed right
            at the wall would carry the arm through it.
    """

    workspace_min_m: tuple[float, float, float]
    workspace_max_m: tuple[float, float, float]
    linear_speed_m_s: float
    angular_speed_rad_s: float
    braking_m_s2: float = 2.0

    def __post_init__(self) -> None:
        low, high = np.asarray(self.workspace_min_m), np.asarray(self.workspace_max_m)
        if low.shape != (3,) or high.shape != (3,) or not (low < high).all():
            raise ConfigError(f"workspace needs two corners with min < max, got {low.tolist()} and {high.tolist()}")
        if not (0.0 < self.linear_speed_m_s <= 1.7 and 0.0 < self.angular_speed_rad_s <= 2.5):
            raise ConfigError(
                "speed limits must lie in (0, 1.7] m/s and (0, 2.5] rad/s, got "
                f"{self.linear_speed_m_s} m/s and {self.angular_speed_rad_s} rad/s"
            )
        if not 0.0 < self.braking_m_s2 <= 13.0:
            raise ConfigError(f"braking_m_s2 must lie in (0, 13], got {self.braking_m_s2}")


class SafetyFilter:
    """Limits each command to the box, to a bounded step from the one before and to a bounded twist; counts changes."""

    def __init__(self, limits: SafetyLimits) -> None:
        """Take the limits of a cell."""
        self.limits = limits
        self.interventions = 0

    def apply(self, wanted: RigidState, previous: Array, period_s: float) -> RigidState:
        """Return the nearest command that is allowed.

        Args:
            wanted: Command that the reference generator asks for.
            previous: 4×4 pose of the command before.
            period_s: Time since that command.

        Raises:
            ValueError: The command is not finite; nothing sensible can be sent.
        """
        if not (np.isfinite(wanted.pose).all() and np.isfinite(wanted.twist).all()):
            raise ValueError("the reference is not finite")
        step = _shorten(
            self._braked(wanted.pose[:3, 3], previous[:3, 3], period_s), self.limits.linear_speed_m_s * period_s
        )
        turn = Rotation.from_matrix(wanted.pose[:3, :3] @ previous[:3, :3].T).as_rotvec()
        short_turn = _shorten(turn, self.limits.angular_speed_rad_s * period_s)
        pose = transform_from(
            previous[:3, 3] + step, Rotation.from_rotvec(short_turn) * Rotation.from_matrix(previous[:3, :3])
        )
        if np.abs(pose - wanted.pose).max() < 1e-9:
            twist = self._bounded(wanted.twist)
            if np.array_equal(twist, wanted.twist):
                return wanted
            self.interventions += 1
            return RigidState(wanted.pose, twist)
        self.interventions += 1
        return RigidState(pose, np.concatenate([step, short_turn]) / period_s)

    def _bounded(self, twist: Array) -> Array:
        """Twist within the speed limits: the robot is fed with it, also where the pose itself moves slowly."""
        limits = self.limits
        return np.concatenate(
            [_shorten(twist[:3], limits.linear_speed_m_s), _shorten(twist[3:], limits.angular_speed_rad_s)]
        )

    def _braked(self, wanted_m: Array, previous_m: Array, period_s: float) -> Array:
        """Step towards the wanted position that can still stop before each wall: v² ≤ 2 a d."""
        low, high = np.asarray(self.limits.workspace_min_m), np.asarray(self.limits.workspace_max_m)
        reach = 2.0 * self.limits.braking_m_s2 * period_s**2
        up = np.sqrt(reach * np.maximum(high - previous_m, 0.0))
        down = np.sqrt(reach * np.maximum(previous_m - low, 0.0))
        step = np.clip(wanted_m - previous_m, -down, up)
        return np.asarray(np.clip(previous_m + step, low, high) - previous_m)


def _shorten(vector: Array, longest: float) -> Array:
    """Scale a vector down to at most this length."""
    length = float(np.linalg.norm(vector))
    return vector if length <= longest else vector * (longest / length)
