"""The two robots that the stack drives, by what their maker publishes about them."""

from dataclasses import dataclass, field

import numpy as np

from d2ppo_core.errors import ConfigError
from d2ppo_core.geometry import Array


def _vector(*values: float) -> Array:
    vector = np.array(values)
    vector.flags.writeable = False  # shared by everybody who imports it
    return vector


@dataclass(frozen=True, kw_only=True, eq=False)
class Robot:
    """Limits of one robot. Joint vectors are (7,), Cartesian pairs are (translation m, rotation rad)."""

    name: str
    q_min_rad: Array
    q_max_rad: Array
    dq_rad_s: Array
    ddq_rad_s2: Array
    dddq_rad_s3: Array
    tau_nm: Array
    dtau_nm_s: float
    speed: tuple[float, float]
    acceleration: tuple[float, float]
    jerk: tuple[float, float]
    elbow: tuple[float, float, float]
    """Largest rad/s, rad/s^2, rad/s^3 of the elbow angle."""
    velocity_offset_rad_s: Array = field(default_factory=lambda: _vector(*[0.0] * 7))
    """With `deceleration_rad_s2`: how the velocity limit shrinks towards the ends of a joint's travel."""
    deceleration_rad_s2: Array = field(default_factory=lambda: _vector(*[np.inf] * 7))

    def velocity_bounds(self, q_rad: Array) -> tuple[Array, Array]:
        """Lowest and highest joint velocities (7,) rad/s at these angles."""
        if np.isinf(self.deceleration_rad_s2[0]):
            return -self.dq_rad_s, self.dq_rad_s
        twice = 2.0 * self.deceleration_rad_s2
        high = np.sqrt(np.maximum(twice * (self.q_max_rad - q_rad), 0.0)) - self.velocity_offset_rad_s
        low = self.velocity_offset_rad_s - np.sqrt(np.maximum(twice * (q_rad - self.q_min_rad), 0.0))
        # np.clip costs several times as much on seven numbers
        return (
            np.minimum(np.maximum(low, -self.dq_rad_s), 0.0),
            np.maximum(np.minimum(high, self.dq_rad_s), 0.0),
        )


_TAU_NM = _vector(87.0, 87.0, 87.0, 87.0, 12.0, 12.0, 12.0)

PANDA = Robot(
    name="panda",
    q_min_rad=_vector(-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973),
    q_max_rad=_vector(2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973),
    dq_rad_s=_vector(2.175, 2.175, 2.175, 2.175, 2.61, 2.61, 2.61),
    ddq_rad_s2=_vector(15.0, 7.5, 10.0, 12.5, 15.0, 20.0, 20.0),
    dddq_rad_s3=_vector(7500.0, 3750.0, 5000.0, 6250.0, 7500.0, 10000.0, 10000.0),
    tau_nm=_TAU_NM,
    dtau_nm_s=1000.0,
    speed=(1.7, 2.5),
    acceleration=(13.0, 25.0),
    jerk=(6500.0, 12500.0),
    elbow=(2.175, 10.0, 5000.0),
)

FR3 = Robot(
    name="fr3",
    q_min_rad=_vector(-2.7437, -1.7837, -2.9007, -3.0421, -2.8065, 0.5445, -3.0159),
    q_max_rad=_vector(2.7437, 1.7837, 2.9007, -0.1518, 2.8065, 4.5169, 3.0159),
    dq_rad_s=_vector(2.62, 2.62, 2.62, 2.62, 5.26, 4.18, 5.26),
    ddq_rad_s2=_vector(*[10.0] * 7),
    dddq_rad_s3=_vector(*[5000.0] * 7),
    tau_nm=_TAU_NM,
    dtau_nm_s=1000.0,
    speed=(3.0, 2.5),
    acceleration=(9.0, 17.0),
    jerk=(4500.0, 8500.0),
    elbow=(1.5, 10.0, 5000.0),
    velocity_offset_rad_s=_vector(0.30, 0.20, 0.20, 0.30, 0.35, 0.35, 0.35),
    deceleration_rad_s2=_vector(6.0, 2.585, 3.5, 4.0, 17.0, 5.5, 17.0),
)

ROBOTS = {robot.name: robot for robot in (PANDA, FR3)}


def robot_named(name: str) -> Robot:
    """Return a robot by its name; ConfigError lists those there are."""
    if name not in ROBOTS:
        raise ConfigError(f"robot: wanted one of {', '.join(ROBOTS)}, got {name!r}")
    return ROBOTS[name]
