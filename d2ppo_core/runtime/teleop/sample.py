"""What every device says, whatever it is made of: a deflection, the gripper, the dead-man switch and buttons."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import numpy as np

from d2ppo_core.geometry import Array


class Button(StrEnum):
    """What a person can press; the texts are what ``teleop/button`` carries."""

    START = "start"
    STOP = "stop"
    HOME = "home"
    RECOVER = "recover"
    CLEAR = "clear_estop"
    ESTOP = "estop"
    GRIPPER = "gripper"
    FASTER = "faster"
    SLOWER = "slower"
    FRAME = "frame"
    LOCK = "lock"
    EPISODE = "episode"
    SUCCESS = "success"
    FAILURE = "failure"
    DISCARD = "discard"


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What a device says at one moment.

    Attributes:
        held: Whether the dead-man switch is held; the arm moves only while it is.
        deflection: (6,) forward, left, up, and the turns about these axes, each in [-1, 1] of full deflection.
        opening: Gripper wish of a device with an analogue one, 0 closed to 1 open; None: `Button.GRIPPER` toggles it.
        pressed: Buttons pressed since the sample before, in their order.
    """

    held: bool = False
    deflection: Array = field(default_factory=lambda: np.zeros(6))
    opening: float | None = None
    pressed: tuple[Button, ...] = ()


class Parser(Protocol):
    """Understands the bytes of one kind of device. Time enters with each call, in s of a clock that never jumps."""

    def feed(self, data: bytes, now_s: float) -> None:
        """Take bytes as the device sent them, cut anywhere."""

    def sample(self, now_s: float) -> Sample:
        """Return what the device says now; buttons are told once."""

    def reset(self) -> None:
        """Let go of everything: what the device says is not known any more."""
