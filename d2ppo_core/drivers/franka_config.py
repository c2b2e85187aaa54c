"""How the arm is driven through franky: parameters, the robot's limits and what to say when it does not fit."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from d2ppo_core.compatibility import AUTO, CLIENTS
from d2ppo_core.errors import ConfigError
from d2ppo_core.runtime.safety.robots import Robot, robot_named

_REALTIME = ("auto", "enforce", "ignore")


@dataclass(frozen=True, kw_only=True)
class FrankaConfig:
    """How the arm is driven.

    Attributes:
        address: Host name or address of the robot.
        robot: ``panda`` or ``fr3``: whose limits are set.
        client: ``franky``, ``franka_rs``, or ``auto``: franky where its build speaks what the robot does.
        realtime: ``enforce`` a real-time kernel, ``ignore`` its absence, or ``auto``: enforce where the kernel is one.
        stiffness_n_m: Translational stiffness of the tracking controller.
        stiffness_nm_rad: Rotational stiffness.
        effective_mass_kg: Mass that the hand presents to the controller; translational damping is critical for it.
            franky's own default is critical for 1 kg, which lets a Panda overshoot.
        effective_inertia_kg_m2: The same for the rotation; critical for 1 kg m² it would lag by a third of a second.
        max_force_n: Greatest force of the tracking controller, whatever holds the arm back; below the reflex threshold.
        max_torque_nm: The same for its torque.
        posture_stiffness_nm_rad: Stiffness with which the elbow is kept, in the null space, while the hand moves.
        friction_nm: Friction that joints 1 to 4 are helped over, 5 to 7 over half of it. The robot compensates its own;
            what it leaves has to be measured, and too much of this makes an arm creep or hum.
        friction_nms_rad: The same for the part that grows with speed, all joints alike.
        collision_torque_nm: Joint torque above which the robot stops itself.
        collision_force_n: Cartesian force above which the robot stops itself.
        homing_dynamics: Fraction of the joint limits used on the way home; above a third, a stop on the way would be
            too sudden for the robot.
        guard_s: Time of the robot's clock without a reference after which the driver brings the arm to rest itself.
    """

    address: str
    robot: str = "panda"
    client: str = AUTO
    realtime: str = "auto"
    stiffness_n_m: float = 1500.0
    stiffness_nm_rad: float = 60.0
    effective_mass_kg: float = 4.0
    effective_inertia_kg_m2: float = 0.2
    max_force_n: float = 25.0
    max_torque_nm: float = 8.0
    posture_stiffness_nm_rad: float = 20.0
    friction_nm: float = 0.0
    friction_nms_rad: float = 0.0
    collision_torque_nm: float = 40.0
    collision_force_n: float = 40.0
    homing_dynamics: float = 0.15
    guard_s: float = 0.1

    def __post_init__(self) -> None:
        """Raise ConfigError for an unknown name, or a value beyond what the robot takes."""
        robot_named(self.robot)
        if self.client not in CLIENTS:
            raise ConfigError(f"client must be one of {', '.join(CLIENTS)}, got {self.client!r}")
        if self.realtime not in _REALTIME:
            raise ConfigError(f"realtime must be one of {', '.join(_REALTIME)}, got {self.realtime!r}")
        bounds = {
            "stiffness_n_m": (10.0, 3000.0),
            "stiffness_nm_rad": (1.0, 200.0),
            "effective_mass_kg": (0.5, 10.0),
            "effective_inertia_kg_m2": (0.02, 2.0),
            "friction_nm": (0.0, 1.0),
            "friction_nms_rad": (0.0, 2.0),
            "max_force_n": (1.0, 100.0),
            "max_torque_nm": (0.5, 30.0),
            "posture_stiffness_nm_rad": (0.0, 50.0),
            "collision_torque_nm": (5.0, 100.0),
            "collision_force_n": (5.0, 150.0),
            "homing_dynamics": (0.01, 0.3),
            "guard_s": (0.02, 1.0),
        }
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"{name} must lie in [{low}, {high}], got {value}")

    @property
    def enforces_realtime(self) -> bool:
        """Whether the client insists on a real-time kernel."""
        if self.realtime == "auto":
            return not self.is_simulated and has_realtime_kernel()
        return self.realtime == "enforce"

    @property
    def is_simulated(self) -> bool:
        """Whether the robot is one of this machine's own."""
        return self.address.startswith("127.")

    @property
    def warning(self) -> str:
        """What a laboratory should know about this machine, one line; empty when nothing."""
        if self.enforces_realtime or self.is_simulated:
            return ""
        return (
            "this kernel is not a real-time one: states and commands may come late, which makes the robot stop itself; "
            "install PREEMPT_RT and set realtime: enforce"
        )


def set_limits(client: Any, robot: Robot) -> None:
    """Set every limit of franky's motions to the robot's own, or to franky's greatest where that is lower.

    franky 2.0.0 has the tables of its two robots swapped, defaults and maxima alike, and refuses more than a maximum.

    Args:
        client: A ``franky.Robot``.
        robot: Whose limits are set.
    """
    wanted: dict[str, Any] = {
        "joint_velocity": robot.dq_rad_s,
        "joint_acceleration": robot.ddq_rad_s2,
        "joint_jerk": robot.dddq_rad_s3,
    }
    derivatives = {"velocity": robot.speed, "acceleration": robot.acceleration, "jerk": robot.jerk}
    for (derivative, (translation, rotation)), elbow in zip(derivatives.items(), robot.elbow, strict=True):
        wanted[f"translation_{derivative}"] = translation
        wanted[f"rotation_{derivative}"] = rotation
        wanted[f"elbow_{derivative}"] = elbow
    for name, value in wanted.items():
        limit = getattr(client, f"{name}_limit")
        limit.set(np.minimum(value, limit.max))


def has_realtime_kernel() -> bool:
    """Tell whether this kernel is a PREEMPT_RT one."""
    flag = Path("/sys/kernel/realtime")
    try:
        return flag.read_text(encoding="utf-8").strip() == "1" or "PREEMPT_RT" in os.uname().version
    except OSError:
        return "PREEMPT_RT" in os.uname().version
