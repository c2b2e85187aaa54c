"""What the stack has to know of a task to find it in robosuite and in its data sets."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class RobosuiteTask:
    """What the stack has to know about one robosuite task."""

    env_name: str
    """robosuite's class name."""
    num_robots: int = 1
    cameras: tuple[str, ...] = ("robot0_eye_in_hand",)
    """Cameras whose pictures belong to an observation, in the order in which a policy sees them."""
    horizon_steps: int = 300
    """Control steps after which an episode counts as failed."""

    @property
    def low_dim_keys(self) -> tuple[str, ...]:
        """Names of the state observations as in robomimic, in the order of the state policies."""
        arm = ("eef_pos", "eef_quat", "gripper_qpos")
        return tuple(f"robot{i}_{name}" for i in range(self.num_robots) for name in arm) + ("object",)

    @property
    def image_keys(self) -> tuple[str, ...]:
        """Observation names of the cameras' pictures."""
        return tuple(f"{camera}_image" for camera in self.cameras)
