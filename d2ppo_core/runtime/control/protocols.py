"""What control expects of an arm and a gripper; no vendor type passes these protocols."""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

import numpy as np

from d2ppo_core.geometry import Array, RigidState


class RobotMode(IntEnum):
    """What the robot itself says it is doing."""

    IDLE = 1
    MOVE = 2
    GUIDING = 3
    REFLEX = 4
    USER_STOPPED = 5
    RECOVERY = 6
    OTHER = 0


@dataclass(frozen=True, kw_only=True)
class ArmReading:
    """One state of the arm; joints in order 1…7, poses and twists in the base frame."""

    robot_time_ms: int
    mode: RobotMode
    q_rad: Array
    dq_rad_s: Array
    tau_nm: Array = field(default_factory=lambda: np.zeros(7))
    """Measured at the link side; zeros where a driver does not know."""
    tau_ext_nm: Array
    measured: RigidState
    wrench: Array
    error: str


class ArmDriver(Protocol):
    """An arm that tracks a pose and twist by Cartesian impedance. No call blocks for longer than a few milliseconds,
    except ``connect`` and ``recover``.

    A driver watches its caller: when references stop coming while it tracks, it brings the arm to rest by itself.
    """

    @property
    def warning(self) -> str:
        """What a laboratory should know about this machine and client, one line; empty when nothing."""

    @property
    def commanded(self) -> RigidState | None:
        """Reference that the robot was told last, by the caller or by the driver itself; None without tracking."""

    def connect(self) -> None:
        """Connect; raise RobotError with what to do when the robot can't be used."""

    def read(self) -> ArmReading:
        """Return the newest state; raise RobotError when the robot stopped answering."""

    def start_tracking(self) -> None:
        """Start the impedance controller at the present pose."""

    def track(self, reference: RigidState) -> None:
        """Set the reference of the running controller."""

    def start_joint_motion(self, q_rad: Array, speed: float = 1.0) -> None:
        """Start a slow joint motion, at a fraction (0, 1] of its usual speed."""

    def motion_running(self) -> bool:
        """Tell whether tracking or a joint motion runs; raise RobotError once with the cause when it was aborted."""

    def stop(self) -> None:
        """Stop any motion smoothly."""

    def recover(self) -> None:
        """Clear a reflex."""

    def close(self) -> None:
        """Stop and disconnect."""


class GripperOutcome(IntEnum):
    """How the gripper's newest command came out; the numbers are those of ``d2ppo_interfaces/ArmState``."""

    NONE = 0
    MOVING = 1
    REACHED = 2
    GRASPED = 3
    MISSED = 4
    FAILED = 5


class GripperAct(IntEnum):
    """What a gripper can be told to do."""

    MOVE = 0
    GRASP = 1
    CALIBRATE = 2


@dataclass(frozen=True, kw_only=True)
class GripperOrder:
    """One thing to do, once.

    Attributes:
        act: What.
        width_m: Opening to move to, or the width of what is to be grasped.
        speed_m_s: Speed of the fingers; 0: the driver's own.
        force_n: Force of a grasp; 0: the driver's own.
        narrower_m: How much narrower than told a grasped thing may be.
        wider_m: How much wider.
    """

    act: GripperAct
    width_m: float = 0.0
    speed_m_s: float = 0.0
    force_n: float = 0.0
    narrower_m: float = 0.01
    wider_m: float = 0.09


@dataclass(frozen=True, kw_only=True)
class GripperReading:
    """What the gripper is and has.

    Attributes:
        width_m: Distance of the fingers.
        force_n: Force with which it was told to hold what it has grasped; 0 when it holds nothing.
        outcome: How the newest command came out.
        order: Number of the order that the outcome belongs to; 0: of no order.
        fault: Why commands fail; empty when they don't.
        time_ms: The hand's own clock.
    """

    width_m: float = 0.0
    force_n: float = 0.0
    outcome: GripperOutcome = GripperOutcome.NONE
    order: int = 0
    fault: str = ""
    time_ms: int = 0


class GripperDriver(Protocol):
    """A parallel gripper whose commands return at once; the newest wins."""

    @property
    def reading(self) -> GripperReading:
        """The newest state."""

    def connect(self) -> None:
        """Connect; raise RobotError with what to do when the gripper can't be used."""

    def command(self, width_m: float) -> None:
        """Ask for an opening; zero closes with force around whatever is there."""

    def order(self, order: GripperOrder) -> int:
        """Do this once, even if it was done before; returns the number under which ``reading`` tells the outcome."""

    def hold(self) -> None:
        """Stop fingers that move to an opening; a grasp, finished or not, keeps its force."""

    def close(self) -> None:
        """Disconnect."""
