"""What the arm is asked to be and what it says it is; no behaviour."""

from dataclasses import dataclass, field
from enum import IntEnum

from d2ppo_core.errors import ConfigError
from d2ppo_core.geometry import RigidState
from d2ppo_core.runtime.control.blend import BlendLimits
from d2ppo_core.runtime.control.protocols import ArmReading
from d2ppo_core.runtime.safety.cell import Cell


class ArmMode(IntEnum):
    """States of the arm node; the numbers are those of ``d2ppo_interfaces/ArmState``."""

    IDLE = 0
    READY = 1
    RUNNING = 2
    HOLDING = 3
    REFLEX = 4
    USER_STOPPED = 5
    ESTOPPED = 6
    DISCONNECTED = 7


HOME = "home"
"""The named pose that every arm has."""

BY_HAND = "a hand has the arm"
"""Reason of RUNNING while teleoperation moves the arm."""

AT_HOME = f"at {HOME}"
"""Reason of READY after homing; a stop gives another one."""


@dataclass(frozen=True, kw_only=True)
class ArmConfig:
    """How the arm is commanded.

    Attributes:
        reference_hz: Rate of the references.
        chunk_timeout_s: Longest time without a fresh chunk before the arm holds: three policy periods.
        state_timeout_s: Longest time without a fresh state of the robot before the arm holds.
        stall_ticks: More periods than this without a tick: the motion goes on from the last command, not by the clock.
        blend: What seams and stops may add to a motion.
        deadman: Whether chunks count only while a dead-man switch is held.
        deadman_timeout_s: How long one message of the switch counts.
        hand_timeout_s: Longest time without a chunk of a hand that has the arm before the arm holds.
        speed_scale: Scale to begin with, in [0, 1].
        recovery_dynamics: Fraction of the usual speed of the first way home after a reflex, user stop or e-stop.
        home_q_rad: Joint position that ``home`` goes to.
        home_gripper_width_m: Opening that ``home`` goes to.
        poses: More positions to go to, by name; 7 joints in rad each.
        cell: Where the robot stands and what it may do there; it names the robot too.
    """

    reference_hz: float
    chunk_timeout_s: float
    home_q_rad: tuple[float, ...]
    home_gripper_width_m: float
    cell: Cell
    state_timeout_s: float = 0.1
    stall_ticks: int = 3
    blend: BlendLimits = BlendLimits()
    deadman: bool = False
    deadman_timeout_s: float = 0.2
    hand_timeout_s: float = 0.15
    speed_scale: float = 1.0
    recovery_dynamics: float = 0.3
    poses: dict[str, tuple[float, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise ConfigError for a home that the arm does not have, or a value out of range."""
        if len(self.home_q_rad) != 7:
            raise ConfigError(f"home_q_rad needs 7 joints, got {len(self.home_q_rad)}")
        if not 0.0 <= self.home_gripper_width_m <= 0.08:
            raise ConfigError(f"home_gripper_width_m must lie in [0, 0.08], got {self.home_gripper_width_m}")
        if self.stall_ticks < 1:
            raise ConfigError(f"stall_ticks must be at least 1, got {self.stall_ticks}")
        if not 0.0 < self.recovery_dynamics <= 1.0:
            raise ConfigError(f"recovery_dynamics must lie in (0, 1], got {self.recovery_dynamics}")


@dataclass(frozen=True, kw_only=True)
class ArmReport:
    """What the arm publishes after a tick."""

    mode: ArmMode = ArmMode.DISCONNECTED
    reason: str = "not connected yet"
    epoch: int = 0
    stamp_ns: int = 0
    reading: ArmReading | None = None
    reference: RigidState | None = None
    ticks: int = 0
    missed_ticks: int = 0
    chunks_accepted: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    safety_interventions: int = 0
    safety_counts: dict[str, int] = field(default_factory=dict)
    chunk_sequence: int = 0
    chunk_stamp_ns: int = 0
    chunk_first_command_ns: int = 0
    bundle_hash: str = ""
    speed_scale: float = 1.0
    deadman_held: bool = False
    by_hand: bool = False

    @property
    def chunks_refused(self) -> int:
        """Refused chunks, whatever the reason."""
        return sum(self.refused.values())
