"""Files of a camera's calibration: versioned YAML in one folder, strict, with serials, accuracy, age and hash.

The core reads them, since nodes, recordings, bundles and `d2ppo doctor` name them; `calibration` makes them.
"""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import yaml
from scipy.spatial.transform import Rotation

from d2ppo_core.config.load import from_mapping, to_mapping
from d2ppo_core.errors import CalibrationError, ConfigError
from d2ppo_core.geometry import Array, rotation_of, transform_from
from d2ppo_core.output import writing_file
from d2ppo_core.yaml_file import read_yaml

VERSION = 1
FOLDER = "calibrations"
"""Where the files lie unless somebody says otherwise."""
_HEAD = "# d2ppo calibration, written by d2ppo calibrate; do not edit, its hash is named elsewhere\n"
_TIME = "%Y-%m-%dT%H:%M:%SZ"


def _finite(name: str, values: tuple[float, ...], *counts: int) -> None:
    if len(values) not in counts or not np.isfinite(values).all():
        wanted = " or ".join(map(str, counts))
        raise ConfigError(f"{name}: wanted {wanted} finite numbers, got {list(values)}")


@dataclass(frozen=True, kw_only=True)
class Pose:
    """A rigid transform as a file has it: m, and a unit quaternion x y z w."""

    position_m: tuple[float, ...] = (0.0, 0.0, 0.0)
    quat_xyzw: tuple[float, ...] = (0.0, 0.0, 0.0, 1.0)

    def __post_init__(self) -> None:
        """Raise ConfigError for what is no rigid transform."""
        _finite("position_m", self.position_m, 3)
        _finite("quat_xyzw", self.quat_xyzw, 4)
        if abs(math.hypot(*self.quat_xyzw) - 1.0) > 1e-3:
            raise ConfigError(f"quat_xyzw: wanted a unit quaternion, got norm {math.hypot(*self.quat_xyzw):.4g}")

    @property
    def matrix(self) -> Array:
        """4×4 transform."""
        return transform_from(self.position_m, Rotation.from_quat(self.quat_xyzw))

    @classmethod
    def of(cls, transform: Array) -> Pose:
        """Return the pose of a 4×4 transform."""
        quat = rotation_of(transform).as_quat(canonical=True)
        return cls(position_m=tuple(map(float, transform[:3, 3])), quat_xyzw=tuple(map(float, quat)))


@dataclass(frozen=True, kw_only=True)
class Intrinsics:
    """How a camera maps directions to pixels, in OpenCV's convention: the centre of the first pixel is (0, 0).

    Attributes:
        width_px: Width of the picture that all of this is of.
        height_px: Its height.
        fx_px: Focal length along a row.
        fy_px: Focal length along a column.
        cx_px: Column of the principal point.
        cy_px: Row of it.
        distortion: k1 k2 p1 p2 k3, or nothing for a camera without.
    """

    width_px: int
    height_px: int
    fx_px: float
    fy_px: float
    cx_px: float
    cy_px: float
    distortion: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Raise ConfigError for what no camera has."""
        if min(self.width_px, self.height_px) < 1:
            raise ConfigError(f"picture: wanted a size in pixels, got {self.width_px}x{self.height_px}")
        _finite("fx_px, fy_px, cx_px, cy_px", (self.fx_px, self.fy_px, self.cx_px, self.cy_px), 4)
        _finite("distortion", self.distortion, 0, 5)
        if min(self.fx_px, self.fy_px) <= 0:
            raise ConfigError(f"fx_px and fy_px must be positive, got {self.fx_px} and {self.fy_px}")

    @property
    def K_camera(self) -> Array:
        """3×3 camera matrix."""
        return np.array([[self.fx_px, 0.0, self.cx_px], [0.0, self.fy_px, self.cy_px], [0.0, 0.0, 1.0]])

    @property
    def coefficients(self) -> Array:
        """Distortion, five numbers."""
        return np.array(self.distortion or (0.0,) * 5)


@dataclass(frozen=True, kw_only=True)
class Board:
    """A ChArUco board: a chessboard with a marker in each white square.

    Attributes:
        columns: Squares along its long side.
        rows: Squares along the other.
        square_m: Side of a square, as measured on the print.
        marker_share: Side of a marker by that of a square.
        dictionary: OpenCV's name of the set of markers, without `DICT_`.
    """

    columns: int = 9
    rows: int = 6
    square_m: float = 0.028
    marker_share: float = 0.75
    dictionary: str = "5X5_100"

    def __post_init__(self) -> None:
        """Raise ConfigError for a board that nobody could print or detect."""
        if not (3 <= self.columns <= 40 and 3 <= self.rows <= 40):
            raise ConfigError(f"board: wanted 3 to 40 squares a side, got {self.columns}x{self.rows}")
        if not 0.003 <= self.square_m <= 0.5:
            raise ConfigError(f"board.square_m: wanted 0.003 to 0.5 m, got {self.square_m}; it is in metres")
        if not 0.4 <= self.marker_share <= 0.9:
            raise ConfigError(f"board.marker_share: wanted 0.4 to 0.9, got {self.marker_share}")


@dataclass(frozen=True, kw_only=True)
class Device:
    """A camera or a robot; an empty serial is one that nobody knows."""

    name: str
    serial: str = ""

    def __post_init__(self) -> None:
        """Raise ConfigError for a name that could not be part of a file's."""
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,60}", self.name):
            raise ConfigError(f"name: wanted letters, digits, _ and -, got {self.name!r}")


@dataclass(frozen=True, kw_only=True)
class IntrinsicsFile:
    """What `d2ppo calibrate intrinsics` found.

    Attributes:
        made: When, UTC.
        model: Which terms of distortion it has, by name.
        held_out_px: Reprojection error (RMS over both coordinates) of views that had no part in the fit.
        sd: Standard deviations of fx fy cx cy, pixels.
        coverage: Share of the picture, in cells, where corners were seen.
        views: How many had a part.
    """

    version: int = VERSION
    kind: str = "intrinsics"
    made: str
    camera: Device
    intrinsics: Intrinsics
    model: str
    held_out_px: float
    sd: tuple[float, ...]
    coverage: float
    views: int


@dataclass(frozen=True, kw_only=True)
class HandEyeFile:
    """What `d2ppo calibrate hand-eye` found.

    Attributes:
        made: When, UTC.
        mount: `hand`: the camera rides on the hand, `base`: it stands beside the robot.
        transform: T_ee_camera, of a camera that stands T_base_camera; the camera's axes are OpenCV's (z ahead, y down).
        covariance: 6×6 of a small step in the camera's own axes: m, rad.
        held_out_mm: RMS by which a view that had no part is off, at the board.
        held_out_deg: The same for rotations.
        noise_px: Standard deviation of a corner.
        noise_hand_m: Standard deviation of the hand's position, and all that acts like it.
        noise_hand_rad: Of its rotation.
        diversity: 0 to 1, how much the hand turned about its second axis.
        views: How many had a part.
        left_out: Pictures that contradicted the others.
        intrinsics: Those that were used.
        intrinsics_hash: Of the file that they are from; empty where the camera's own were used.
        tool: T_flange_ee of the end effector that `transform` is of.
        joint_offsets_rad: To be added to measured joint angles; nothing where the data carried none.
        board: That it was measured with.
    """

    version: int = VERSION
    kind: str = "hand_eye"
    made: str
    mount: str
    camera: Device
    robot: Device
    transform: Pose
    covariance: tuple[tuple[float, ...], ...]
    held_out_mm: float
    held_out_deg: float
    noise_px: float
    noise_hand_m: float
    noise_hand_rad: float
    diversity: float
    views: int
    left_out: tuple[str, ...] = ()
    intrinsics: Intrinsics
    intrinsics_hash: str = ""
    tool: Pose = field(default_factory=Pose)
    joint_offsets_rad: tuple[float, ...] = ()
    board: Board

    def __post_init__(self) -> None:
        """Raise ConfigError for a mount that there is not, or a covariance of another shape."""
        if self.mount not in MOUNTS:
            raise ConfigError(f"mount: wanted one of {', '.join(MOUNTS)}, got {self.mount!r}")
        _finite("joint_offsets_rad", self.joint_offsets_rad, 0, 7)
        if np.shape(self.covariance) != (6, 6) or not np.isfinite(self.covariance).all():
            raise ConfigError("covariance: wanted 6 rows of 6 finite numbers")


MOUNTS = ("hand", "base")
File = TypeVar("File", IntrinsicsFile, HandEyeFile)


def now_text() -> str:
    """Return the time now as files have it."""
    return datetime.now(UTC).strftime(_TIME)


def age_days(content: IntrinsicsFile | HandEyeFile, now: datetime | None = None) -> float:
    """Return how old a calibration is."""
    made = datetime.strptime(content.made, _TIME).replace(tzinfo=UTC)
    return ((now or datetime.now(UTC)) - made).total_seconds() / 86400.0


def hash_of(content: IntrinsicsFile | HandEyeFile) -> str:
    """Return 16 hexadecimal digits that change with anything in it."""
    return hashlib.sha256(yaml.safe_dump(to_mapping(content), sort_keys=True).encode()).hexdigest()[:16]


def path_of(folder: Path, kind: type[File], camera: str) -> Path:
    """Return where the file of a camera lies."""
    return folder / f"{camera}.{'intrinsics' if kind is IntrinsicsFile else 'hand_eye'}.yaml"


def load(path: Path, kind: type[File], *, camera_serial: str = "", robot_serial: str = "") -> File:
    """Read a file and check it.

    Raises:
        CalibrationError: it is from a newer version, of another kind, or of another camera or robot.
        ConfigError: it cannot be read, or a key or value is not allowed.
    """
    found = read_yaml(path)
    wanted = "intrinsics" if kind is IntrinsicsFile else "hand_eye"
    if not isinstance(found, dict) or found.get("kind") != wanted:
        raise CalibrationError(f"{path}: wanted a calibration file of kind {wanted}; make one with d2ppo calibrate")
    refuse_newer(path, found)
    try:
        content = from_mapping(kind, found)
        datetime.strptime(content.made, _TIME)
    except (ConfigError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from None
    _same(path, "camera", content.camera.serial, camera_serial)
    if isinstance(content, HandEyeFile):
        _same(path, "robot", content.robot.serial, robot_serial)
    return content


def refuse_newer(path: Path, found: dict[str, Any]) -> None:
    """Raise CalibrationError unless what a file holds is of a version that this program reads."""
    version = found.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise CalibrationError(f"{path}: version: wanted a number from 1 to {VERSION}, got {version!r}")
    if version > VERSION:
        raise CalibrationError(
            f"{path}: written by a newer d2ppo (format {version}, this one reads {VERSION}): upgrade this one"
        )


def _same(path: Path, what: str, theirs: str, ours: str) -> None:
    if theirs and ours and theirs != ours:
        raise CalibrationError(
            f"{path} is of the {what} with serial {theirs}, not of {ours}: calibrate this one, or name another --folder"
        )


def save(folder: Path, content: IntrinsicsFile | HandEyeFile, *, force: bool = False) -> Path:
    """Write a file in the place of the camera's last one, all of it or nothing.

    Raises:
        CalibrationError: what is there is of another camera or robot, and not `force`.
        OutputError: what is there is no calibration file, or nothing can be written.
    """
    path = folder / f"{content.camera.name}.{content.kind}.yaml"
    if path.exists() and not force and is_calibration(path):
        if isinstance(content, HandEyeFile):
            load(path, HandEyeFile, camera_serial=content.camera.serial, robot_serial=content.robot.serial)
        else:
            load(path, IntrinsicsFile, camera_serial=content.camera.serial)
    with writing_file(path, "calibration file", is_calibration) as unfinished:
        unfinished.write_text(_HEAD + yaml.safe_dump(to_mapping(content), sort_keys=False), encoding="utf-8")
    return path


def is_calibration(path: Path) -> bool:
    """Whether a file begins as ours do."""
    with path.open("rb") as file:
        return file.read(len(_HEAD.encode())) == _HEAD.encode()
