"""Named joint positions of an arm, from YAML."""

from pathlib import Path

import yaml

from d2ppo_core.errors import ConfigError
from d2ppo_core.runtime.safety.robots import Robot


def load_poses(source: str, robot: Robot) -> dict[str, tuple[float, ...]]:
    """Read ``name: [q1, …, q7]`` in rad.

    Args:
        source: YAML text, or the path of a file that ends in .yaml; empty: no poses.
        robot: Whose joint limits the positions must keep.

    Raises:
        ConfigError: The source cannot be read, or a pose is not one of this robot.
    """
    try:
        text = Path(source).read_text(encoding="utf-8") if source.endswith((".yaml", ".yml")) else source
        poses = yaml.safe_load(text) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"poses cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(poses, dict):
        raise ConfigError(f"poses must map names to 7 joint angles, got {type(poses).__name__}")
    return {str(name): checked_joints(str(name), q_rad, robot) for name, q_rad in poses.items()}


def checked_joints(name: str, q_rad: object, robot: Robot) -> tuple[float, ...]:
    """Return 7 joint angles of a robot; ConfigError when they are not."""
    numbers = isinstance(q_rad, (list, tuple)) and all(
        isinstance(q, (int, float)) and not isinstance(q, bool) for q in q_rad
    )
    if not isinstance(q_rad, (list, tuple)) or not numbers or len(q_rad) != 7:
        raise ConfigError(f"pose {name} needs 7 joint angles in rad, got {q_rad}")
    for joint, (q, low, high) in enumerate(zip(q_rad, robot.q_min_rad, robot.q_max_rad, strict=True), start=1):
        if not low <= q <= high:
            raise ConfigError(
                f"pose {name}: joint {joint} of a {robot.name} must lie in [{low:.4f}, {high:.4f}] rad, got {q}"
            )
    return tuple(float(q) for q in q_rad)
