"""What a device's deflection means: a bounded velocity in a frame, and from it timed targets for the arm."""

from dataclasses import dataclass

import numpy as np

from d2ppo_core.errors import ConfigError
from d2ppo_core.geometry import Array, RigidState, moved_by
from d2ppo_core.runtime.inference.osc import Targets, leashed
from d2ppo_core.runtime.teleop.sample import Button, Sample

FRAMES = ("base", "tool", "camera")
LOCKS = ("none", "translation only", "rotation only")

R_DOWN = np.diag((1.0, -1.0, -1.0))
"""A hand that points straight down, in the base frame: there the frames base and tool mean the same."""
R_OPTICAL = np.array(((0.0, -1.0, 0.0), (0.0, 0.0, -1.0), (1.0, 0.0, 0.0)))
"""Forward, left and up in a camera's optical frame (right, down, into the picture), as columns."""


@dataclass(frozen=True, kw_only=True)
class MappingConfig:
    """How far a deflection reaches.

    Attributes:
        max_speed_m_s: Speed at full deflection and the highest level.
        max_turn_rad_s: The same for the rotation.
        levels: Shares of these speeds, lowest first.
        dead_zone: Deflections up to this share count as none.
        frame: Frame to begin with, one of ``FRAMES``.
        R_ee_camera: (3, 3) optical frame of the camera at the hand, in the hand's frame; None: there is none.
        acceleration_m_s2: How fast the commanded velocity changes.
        acceleration_rad_s2: The same for the rotation.
        max_lead_m: How far the command may lead the measured position: what pushes does not wind up.
        max_lead_rad: The same for the rotation.
        open_width_m: Opening of the toggle and of an analogue wish of 1.
        period_s: Time between two targets.
        targets: Targets of one chunk; past them the arm comes to rest.
    """

    max_speed_m_s: float = 0.2
    max_turn_rad_s: float = 0.8
    levels: tuple[float, ...] = (0.15, 0.4, 1.0)
    dead_zone: float = 0.08
    frame: str = "base"
    R_ee_camera: Array | None = None
    acceleration_m_s2: float = 1.5
    acceleration_rad_s2: float = 6.0
    max_lead_m: float = 0.03
    max_lead_rad: float = 0.2
    open_width_m: float = 0.08
    period_s: float = 0.02
    targets: int = 6

    def __post_init__(self) -> None:
        """Raise ConfigError for a frame that is not known, or a bound out of range."""
        if self.frame not in FRAMES:
            raise ConfigError(f"frame must be one of {', '.join(FRAMES)}, got {self.frame!r}")
        if self.frame == "camera" and self.R_ee_camera is None:
            raise ConfigError("frame camera needs camera_quat_xyzw: how the camera sits at the hand")
        if list(self.levels) != sorted(self.levels) or not 0.0 < self.levels[0] <= self.levels[-1] <= 1.0:
            raise ConfigError(f"levels must rise within (0, 1], got {self.levels}")
        if not 0.0 <= self.dead_zone < 1.0:
            raise ConfigError(f"dead_zone must lie in [0, 1), got {self.dead_zone}")


class Mapping:
    """Speed level, frame, lock and gripper: what buttons change, and what deflections then mean."""

    def __init__(self, config: MappingConfig) -> None:
        """Begin in the middle of the levels."""
        self.config = config
        self._level = (len(config.levels) - 1) // 2
        self.frame, self.lock = config.frame, LOCKS[0]
        self.width_m = config.open_width_m
        """Opening that is wanted."""

    @property
    def speed(self) -> float:
        """Share of the greatest speed."""
        return self.config.levels[self._level]

    def begin(self, width_m: float, grasped: bool) -> None:
        """Take an arm over as it is: what the hand holds, it goes on holding."""
        self.width_m = 0.0 if grasped else width_m

    def press(self, button: Button) -> bool:
        """Take a button; whether it was one that changes what follows."""
        if button is Button.FASTER:
            self._level = min(self._level + 1, len(self.config.levels) - 1)
        elif button is Button.SLOWER:
            self._level = max(self._level - 1, 0)
        elif button is Button.FRAME:
            frames = [frame for frame in FRAMES if frame != "camera" or self.config.R_ee_camera is not None]
            self.frame = frames[(frames.index(self.frame) + 1) % len(frames)]
        elif button is Button.LOCK:
            self.lock = LOCKS[(LOCKS.index(self.lock) + 1) % len(LOCKS)]
        elif button is Button.GRIPPER:
            self.width_m = 0.0 if self.width_m > 0.5 * self.config.open_width_m else self.config.open_width_m
        else:
            return False
        return True

    def twist(self, sample: Sample, pose: Array) -> Array:
        """Return the velocity (6,) wanted in the base frame, m/s and rad/s; an analogue gripper wish is taken too.

        Args:
            sample: what the device says.
            pose: 4×4, where the hand is commanded to be.
        """
        if sample.opening is not None:
            self.width_m = sample.opening * self.config.open_width_m
        if not sample.held:
            return np.zeros(6)
        reach = sample.deflection.copy()
        if self.lock != LOCKS[0]:
            reach[3:] *= self.lock == LOCKS[2]
            reach[:3] *= self.lock == LOCKS[1]
        rotation = self._operator(pose)
        speed, turn = self.speed * self.config.max_speed_m_s, self.speed * self.config.max_turn_rad_s
        return np.concatenate([rotation @ self._shaped(reach[:3]) * speed, rotation @ self._shaped(reach[3:]) * turn])

    def targets(self, twist: Array, reference: RigidState, measured: RigidState) -> Targets:
        """Return where the arm should be in the next moments if nothing changes: from what it is commanded now.

        The velocity goes from the commanded to the wanted one as fast as the accelerations allow, and stays.

        Args:
            twist: (6,) velocity wanted, base frame.
            reference: What the arm is commanded to do now.
            measured: What it does.
        """
        config = self.config
        start = leashed(reference, measured, config.max_lead_m, config.max_lead_rad)
        states = [start]
        for _ in range(config.targets - 1):
            last = states[-1]
            change = twist - last.twist
            change[:3] = _at_most(change[:3], config.acceleration_m_s2 * config.period_s)
            change[3:] = _at_most(change[3:], config.acceleration_rad_s2 * config.period_s)
            step = (last.twist + 0.5 * change) * config.period_s
            states.append(RigidState(moved_by(last.pose, step), last.twist + change))
        return Targets(tuple(states), np.full(config.targets, self.width_m), config.period_s)

    def _operator(self, pose: Array) -> Array:
        """(3, 3) forward, left and up as columns, in the base frame."""
        if self.frame == "base":
            return np.eye(3)
        if self.frame == "tool" or self.config.R_ee_camera is None:
            return np.asarray(pose[:3, :3] @ R_DOWN)
        return np.asarray(pose[:3, :3] @ self.config.R_ee_camera @ R_OPTICAL)

    def _shaped(self, deflection: Array) -> Array:
        """Cut the dead zone out, axis by axis, and keep the norm within 1."""
        size = np.maximum(np.abs(deflection) - self.config.dead_zone, 0.0) / (1.0 - self.config.dead_zone)
        return _at_most(np.sign(deflection) * size, 1.0)


def _at_most(vector: Array, limit: float) -> Array:
    norm = float(np.linalg.norm(vector))
    return vector if norm <= limit else vector * (limit / norm)
