"""Cell file: what the safety filter must know about a robot's surroundings; strict YAML."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from d2ppo_core.compatibility import AUTO, CLIENTS
from d2ppo_core.config.load import from_mapping
from d2ppo_core.errors import ConfigError
from d2ppo_core.geometry import Array
from d2ppo_core.runtime.safety.robots import robot_named
from d2ppo_core.runtime.safety.shapes import KeepOut, require_between, require_numbers
from d2ppo_core.shipped import named_file
from d2ppo_core.yaml_file import read_yaml


@dataclass(frozen=True, kw_only=True)
class Ball:
    """A point of the tool with a radius (0 is a corner), in the end effector's frame."""

    position_m: tuple[float, ...]
    radius_m: float = 0.0

    def __post_init__(self) -> None:
        """Raise ConfigError for anything but three numbers and a radius within [0, 0.5] m."""
        require_numbers("balls.position_m", self.position_m, 3)
        require_between("balls.radius_m", self.radius_m, 0.0, 0.5)


@dataclass(frozen=True, kw_only=True)
class LinkBall(Ball):
    """A ball around a point of the arm, in the frame of one of its links (Franka's convention, 1 to 7)."""

    link: int

    def __post_init__(self) -> None:
        """Raise ConfigError for what is wrong with the ball, or a link that the arm does not have."""
        super().__post_init__()
        if not 1 <= self.link <= 7:
            raise ConfigError(f"arm_balls.link: wanted 1 to 7, got {self.link}")


_FRANKA_HAND_QUAT_XYZW = (0.0, 0.0, -0.3826834323650898, 0.9238795325112867)


@dataclass(frozen=True, kw_only=True)
class Tool:
    """The end effector as the robot is configured for it (F_T_EE in Franka's terms), by default the Franka Hand.

    Attributes:
        position_m: End effector in the flange's frame.
        quat_xyzw: Its orientation there.
        balls: What of the tool must stay clear of table and keep-out shapes: finger tips, hand, camera.
    """

    position_m: tuple[float, ...] = (0.0, 0.0, 0.1034)
    quat_xyzw: tuple[float, ...] = _FRANKA_HAND_QUAT_XYZW
    balls: tuple[Ball, ...]

    def __post_init__(self) -> None:
        """Raise ConfigError for a quaternion that is no rotation, or a tool without a ball."""
        require_numbers("tool.position_m", self.position_m, 3)
        require_numbers("tool.quat_xyzw", self.quat_xyzw, 4)
        norm = float(np.linalg.norm(self.quat_xyzw))
        if abs(norm - 1.0) > 1e-3:
            raise ConfigError(f"tool.quat_xyzw: wanted a unit quaternion, got norm {norm:.4g}")
        if not self.balls:
            raise ConfigError("tool.balls: wanted at least one, the tip that reaches lowest; got none")

    @property
    def T_flange_ee(self) -> Array:
        """4×4 pose of the end effector in the flange's frame."""
        x, y, z, w = np.asarray(self.quat_xyzw) / np.linalg.norm(self.quat_xyzw)
        cross = np.array(((0.0, -z, y), (z, 0.0, -x), (-y, x, 0.0)))
        transform = np.eye(4)
        transform[:3, :3] += 2.0 * (w * cross + cross @ cross)
        transform[:3, 3] = self.position_m
        return transform


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What a robot may do where it stands; lengths in m in its base frame.

    Attributes:
        robot: ``panda`` or ``fr3``: whose joint limits hold.
        base_position_m: Where the robot's base stands in the world of the policies' observations; empty: not said, and
            no bundle is refused for it.
        base_yaw_rad: How the base is turned there, about z.
        client: ``franky`` or ``franka_rs`` drives it; ``auto``: franky where it speaks what the robot does.
        workspace_min_m: Lower corner of the box that the end effector's origin must stay in.
        workspace_max_m: Upper corner.
        table_height_m: Height of the table's surface.
        table_clearance_m: Distance that the lowest ball of tool and arm keeps from it.
        tool: The end effector.
        arm_balls: Parts of the arm itself that must stay clear of table and keep-out shapes.
        keep_out: Shapes around things in the cell.
        linear_speed_m_s: Greatest speed of the end effector.
        angular_speed_rad_s: Greatest angular speed.
        linear_acceleration_m_s2: How fast the speed may grow; it may always shrink.
        angular_acceleration_rad_s2: The same for the angular speed.
        step_m: Longest step between two commands, however much time lies between them.
        step_rad: The same for rotations.
        braking_m_s2: Deceleration before walls, table and shapes: v² <= 2 a d.
        joint_margin_rad: Distance from the ends of a joint's travel.
        joint_braking_rad_s2: Deceleration of a joint before that margin.
        joint_speed_share: Share of the robot's joint velocity limits that may be used.
    """

    robot: str
    client: str = AUTO
    base_position_m: tuple[float, ...] = ()
    base_yaw_rad: float = 0.0
    workspace_min_m: tuple[float, ...]
    workspace_max_m: tuple[float, ...]
    table_height_m: float
    table_clearance_m: float = 0.005
    tool: Tool
    arm_balls: tuple[LinkBall, ...] = ()
    keep_out: KeepOut = field(default_factory=KeepOut)
    linear_speed_m_s: float
    angular_speed_rad_s: float
    linear_acceleration_m_s2: float = 5.0
    angular_acceleration_rad_s2: float = 15.0
    step_m: float = 0.03
    step_rad: float = 0.2
    braking_m_s2: float = 1.0
    joint_margin_rad: float = 0.1
    joint_braking_rad_s2: float = 2.0
    joint_speed_share: float = 0.8

    def __post_init__(self) -> None:
        """Raise ConfigError for an unknown robot or client, an empty workspace, or more than the robot can do."""
        robot = robot_named(self.robot)
        if self.client not in CLIENTS:
            raise ConfigError(f"client: wanted one of {', '.join(CLIENTS)}, got {self.client!r}")
        if self.base_position_m:
            require_numbers("base_position_m", self.base_position_m, 3)
        require_between("base_yaw_rad", self.base_yaw_rad, -2.0 * np.pi, 2.0 * np.pi)
        require_numbers("workspace_min_m", self.workspace_min_m, 3)
        require_numbers("workspace_max_m", self.workspace_max_m, 3)
        if not all(low < high for low, high in zip(self.workspace_min_m, self.workspace_max_m, strict=True)):
            low, high = list(self.workspace_min_m), list(self.workspace_max_m)
            raise ConfigError(f"workspace: wanted two corners with min < max, got {low} and {high}")
        for name, least, most in (
            ("table_height_m", -2.0, 2.0),
            ("table_clearance_m", 0.0, 0.5),
            ("linear_speed_m_s", 0.01, min(1.7, robot.speed[0])),
            ("angular_speed_rad_s", 0.01, robot.speed[1]),
            ("linear_acceleration_m_s2", 0.1, robot.acceleration[0]),
            ("angular_acceleration_rad_s2", 0.1, 100.0),
            ("step_m", 0.001, 0.1),
            ("step_rad", 0.01, 0.5),
            ("braking_m_s2", 0.1, robot.acceleration[0]),
            ("joint_margin_rad", 0.01, 0.5),
            ("joint_braking_rad_s2", 0.1, float(robot.ddq_rad_s2.min())),
            ("joint_speed_share", 0.05, 1.0),
        ):
            require_between(name, getattr(self, name), least, most)

    @property
    def T_world_base(self) -> Array | None:
        """4×4 pose of the base in the world of the observations; None where the file does not say."""
        if not self.base_position_m:
            return None
        cosine, sine = np.cos(self.base_yaw_rad), np.sin(self.base_yaw_rad)
        transform = np.eye(4)
        transform[:2, :2] = ((cosine, -sine), (sine, cosine))
        transform[:3, 3] = self.base_position_m
        return transform


def load_cell(text: str) -> Cell:
    """Return the cell of a YAML file, given by its path or by the name of a shipped one.

    A file that begins with ``like: <another>`` has all that the other one has, but for what it says itself.

    Raises:
        ConfigError: There is no such file, it is no YAML, or a key or value is not allowed.
    """
    path = named_file("cell", text)
    try:
        return from_mapping(Cell, _content(path, (path.resolve(),)))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _content(path: Path, seen: tuple[Path, ...]) -> Any:
    """What a file holds, on top of what it is like; one beside it is named by its file name."""
    content = read_yaml(path)
    if not isinstance(content, dict) or "like" not in content:
        return content
    like = content.pop("like")
    if not isinstance(like, str):
        raise ConfigError(f"like: wanted the name or path of another cell, got {like!r}")
    beside = path.parent / like
    other = beside if beside.is_file() else named_file("cell", like)
    if other.resolve() in seen:
        raise ConfigError(f"like: {' -> '.join(part.name for part in (*seen, other))} goes round in a circle")
    below = _content(other, (*seen, other.resolve()))
    if not isinstance(below, dict):
        raise ConfigError(f"{other}: wanted a mapping, got {below!r}")
    return {**below, **content}
