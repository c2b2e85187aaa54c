"""How a demonstrator goes about a task: drawn once per episode, so that no two demonstrations are alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from d2ppo_core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Style:
    """One demonstrator's habits in one episode."""

    skill: float
    """1 is careful, 0 sloppy."""
    speed: float = 1.0
    """Largest norm of the translation action, in action units (1 = 0.05 m of delta)."""
    turn_speed: float = 0.5
    """Largest norm of the rotation action, in action units (1 = 0.5 rad of delta)."""
    hover_m: float = 0.10
    """Height above the object at which the descent begins."""
    via_m: NDArray[np.float64] | None = None
    """(3,) detour relative to the object, or None for the direct way."""
    second_choice: bool = False
    """Take the second nearest of the equivalent grasps: demonstrations become multimodal."""
    grasp_offset_m: NDArray[np.float64]
    """(3,) systematic error of the grasp point."""
    yaw_offset_rad: float = 0.0
    """Systematic error of the grasp heading."""
    tolerance_m: float = 0.008
    """How close is close enough."""
    pause_steps: int = 0
    """Hesitation before the gripper closes, control steps."""
    noise_std: float = 0.0
    """Standard deviation of the noise on executed actions, in action units."""

    @classmethod
    def draw(cls, rng: np.random.Generator, skill: float) -> Style:
        """A random style of the given skill.

        Raises:
            ConfigError: skill outside [0, 1].
        """
        if not 0.0 <= skill <= 1.0:
            raise ConfigError(f"skill must be within [0, 1], got {skill}")
        sloppy = 1.0 - skill
        detour = rng.normal(0.0, 0.06, 3)
        detour[2] = abs(detour[2])
        hover_m = rng.uniform(0.05, 0.11)
        return cls(
            skill=skill,
            speed=rng.uniform(0.55, 1.0),
            turn_speed=rng.uniform(0.3, 0.5),
            hover_m=hover_m,
            via_m=detour + [0.0, 0.0, hover_m] if rng.random() < 0.4 else None,
            second_choice=bool(rng.random() < 0.25),
            grasp_offset_m=np.clip(rng.normal(0.0, 0.003 + 0.004 * sloppy, 3), -0.008, 0.008),
            yaw_offset_rad=rng.normal(0.0, 0.05 + 0.10 * sloppy),
            tolerance_m=rng.uniform(0.005, 0.008 + 0.006 * sloppy),
            pause_steps=int(rng.poisson(0.5 + 1.5 * sloppy)),
            noise_std=0.08 + 0.24 * sloppy,
        )

    @classmethod
    def plain(cls) -> Style:
        """The shortest careful way, without any variation."""
        return cls(skill=1.0, grasp_offset_m=np.zeros(3))


class ActionNoise:
    """First-order autoregressive noise on the six motion axes; the gripper is left alone."""

    CORRELATION = 0.85
    """Correlation of consecutive control steps: a shaky hand drifts rather than jitters."""
    AXIS_GAIN = np.array([1.0, 1.0, 1.0, 0.4, 0.4, 0.4, 0.0])

    def __init__(self, rng: np.random.Generator, std: float, num_arms: int = 1) -> None:
        """Start at zero; `std` is the stationary standard deviation in action units."""
        self._rng, self._std = rng, std
        self._gain = np.tile(self.AXIS_GAIN, num_arms)
        self._value = np.zeros(len(self._gain))

    def __call__(self) -> NDArray[np.float64]:
        """(7 per arm,) the next sample."""
        innovation = np.sqrt(1.0 - self.CORRELATION**2) * self._std
        self._value = self.CORRELATION * self._value + innovation * self._rng.normal(size=len(self._value))
        return np.asarray(self._value * self._gain)
