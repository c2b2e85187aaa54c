"""A capture: a folder of pictures of a board with what the robot said at each; `capture.yaml` says which and whose.

Whoever makes one, a node, the simulator or a person: what is calibrated is this folder.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from d2ppo_core.calibrated import MOUNTS, Board, Device, Intrinsics, Pose, refuse_newer
from d2ppo_core.config.load import from_mapping, to_mapping
from d2ppo_core.errors import CalibrationError, ConfigError
from d2ppo_core.geometry import Array, inverse, rotation_of
from d2ppo_core.runtime.safety.kinematics import posture
from d2ppo_core.yaml_file import read_yaml

FILE = "capture.yaml"
STILL_M, STILL_RAD = 0.0005, 0.002
"""The hand may move so far while a picture is taken."""
AGREE_M, AGREE_RAD = 0.002, 0.005
"""So far a hand's pose may differ from what its joint angles make of the tool."""


@dataclass(frozen=True, kw_only=True)
class View:
    """One picture, and the robot when it was taken.

    Attributes:
        picture: File in the capture's folder.
        position_m: T_base_ee of the end effector, for a hand-eye calibration; or
        quat_xyzw: (its orientation)
        q_rad: joint angles, from which it follows with the capture's tool; both are compared.
        moved_m: How far the hand moved between before and after the picture.
        moved_rad: How far it turned.
    """

    picture: str
    position_m: tuple[float, ...] = ()
    quat_xyzw: tuple[float, ...] = ()
    q_rad: tuple[float, ...] = ()
    moved_m: float = 0.0
    moved_rad: float = 0.0

    def __post_init__(self) -> None:
        """Raise ConfigError for a pose or joint angles of another length."""
        if self.position_m or self.quat_xyzw:
            Pose(position_m=self.position_m, quat_xyzw=self.quat_xyzw)
        if len(self.q_rad) not in (0, 7) or not np.isfinite(self.q_rad).all():
            raise ConfigError(f"q_rad: wanted 7 finite numbers, got {list(self.q_rad)}")


@dataclass(frozen=True, kw_only=True)
class Capture:
    """What `capture.yaml` holds.

    Attributes:
        camera: Whose pictures these are.
        robot: Whose hand.
        board: As described when it was captured; what the command line says wins.
        mount: `hand` or `base`: where the camera is; the board is at the other.
        factory: Intrinsics that the camera says of itself.
        tool: T_flange_ee of the end effector.
        views: In the order in which they were taken.
    """

    version: int = 1
    camera: Device
    robot: Device = field(default_factory=lambda: Device(name="robot"))
    board: Board = field(default_factory=Board)
    mount: str = "hand"
    factory: Intrinsics | None = None
    tool: Pose | None = None
    views: tuple[View, ...]

    def __post_init__(self) -> None:
        """Raise ConfigError for a mount that there is not."""
        if self.mount not in MOUNTS:
            raise ConfigError(f"mount: wanted one of {', '.join(MOUNTS)}, got {self.mount!r}")


def load_capture(folder: Path) -> Capture:
    """Read what a capture holds; pictures are read by `read_picture`.

    Raises:
        CalibrationError: it is from a newer version.
        ConfigError: it is no capture, or a key or value is not allowed.
    """
    path = folder / FILE
    found = read_yaml(path)
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: wanted a mapping, got {found!r}")
    refuse_newer(path, found)
    try:
        factory = from_mapping(Intrinsics, found["factory"], "factory") if found.get("factory") else None
        tool = from_mapping(Pose, found["tool"], "tool") if found.get("tool") else None
        rest = from_mapping(Capture, {key: found[key] for key in found if key not in ("factory", "tool")})
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return Capture(**{**vars(rest), "factory": factory, "tool": tool})


def write_capture(folder: Path, capture: Capture) -> Path:
    """Write `capture.yaml` beside pictures that are there already."""
    path = folder / FILE
    content = {key: value for key, value in to_mapping(capture).items() if value is not None}
    content["views"] = [to_mapping(view) for view in capture.views]
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def read_picture(folder: Path, view: View) -> NDArray[np.uint8]:
    """Return a view's picture in grey, (H, W).

    Raises:
        CalibrationError: it is missing or no picture.
    """
    path = folder / view.picture
    try:
        content = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise CalibrationError(f"{path}: cannot be read: {error.strerror}") from None
    picture = cv2.imdecode(content, cv2.IMREAD_GRAYSCALE) if len(content) else None
    if picture is None:
        raise CalibrationError(f"{path}: not a picture; wanted PNG or JPEG")
    return np.asarray(picture, np.uint8)


def hand_pose(capture: Capture, view: View, joint_offsets_rad: tuple[float, ...] = ()) -> Array:
    """Return T_base_ee (4, 4) of a view, with offsets (7) added to its joint angles where there are some.

    Raises:
        CalibrationError: the view has no pose, the hand moved, or its joint angles speak of another tool.
    """
    where = view.picture
    if view.moved_m > STILL_M or view.moved_rad > STILL_RAD:
        raise CalibrationError(
            f"{where}: the hand moved by {1000 * view.moved_m:.1f} mm and {np.degrees(view.moved_rad):.2f}° "
            "during this picture: let it come to rest first, and take it again"
        )
    given = Pose(position_m=view.position_m, quat_xyzw=view.quat_xyzw).matrix if view.position_m else None
    if not view.q_rad or capture.tool is None:
        if joint_offsets_rad:
            raise CalibrationError(f"{where}: wanted q_rad and a tool, since offsets of the joints are stored")
        if given is None:
            raise CalibrationError(f"{where}: wanted position_m and quat_xyzw of the hand, or q_rad and a tool")
        return given
    of_joints = posture(np.array(view.q_rad), capture.tool.matrix).pose
    if given is not None:
        off = inverse(given) @ of_joints
        off_m, off_rad = float(np.linalg.norm(off[:3, 3])), float(rotation_of(off).magnitude())
        if off_m > AGREE_M or off_rad > AGREE_RAD:
            raise CalibrationError(
                f"{where}: the hand's pose and its joint angles differ by {1000 * off_m:.1f} mm and "
                f"{np.degrees(off_rad):.2f}°: tool is not the one that the robot is configured for (F_T_EE)"
            )
    if joint_offsets_rad:
        return posture(np.add(view.q_rad, joint_offsets_rad), capture.tool.matrix).pose
    return of_joints
