"""Keep-out shapes of a cell: signed distances of many points to few convex shapes, in plain numpy."""

from dataclasses import dataclass

import numpy as np

from d2ppo_core.errors import ConfigError
from d2ppo_core.geometry import Array

_AXES = np.eye(3)
_UP = _AXES[2]


def require_numbers(name: str, values: tuple[float, ...], count: int) -> None:
    """Raise ConfigError unless there are ``count`` finite numbers."""
    if len(values) != count or not np.isfinite(values).all():
        raise ConfigError(f"{name}: wanted {count} finite numbers, got {list(values)}")


def require_between(name: str, value: float, low: float, high: float) -> None:
    """Raise ConfigError unless low <= value <= high; NaN is refused as well."""
    if not low <= value <= high:
        raise ConfigError(f"{name}: wanted a number in [{low}, {high}], got {value}")


@dataclass(frozen=True, kw_only=True)
class BoxShape:
    """A box that stands upright, turned about the vertical; centre and edge lengths in m."""

    centre_m: tuple[float, ...]
    size_m: tuple[float, ...]
    yaw_rad: float = 0.0

    def __post_init__(self) -> None:
        """Raise ConfigError for anything but numbers, or an edge <= 0."""
        require_numbers("keep_out.boxes.centre_m", self.centre_m, 3)
        require_numbers("keep_out.boxes.size_m", self.size_m, 3)
        require_numbers("keep_out.boxes.yaw_rad", (self.yaw_rad,), 1)
        if min(self.size_m) <= 0.0:
            raise ConfigError(f"keep_out.boxes.size_m: wanted three lengths > 0, got {list(self.size_m)}")


@dataclass(frozen=True, kw_only=True)
class SphereShape:
    """A sphere."""

    centre_m: tuple[float, ...]
    radius_m: float

    def __post_init__(self) -> None:
        """Raise ConfigError for anything but numbers, or a radius beyond [1 mm, 10 m]."""
        require_numbers("keep_out.spheres.centre_m", self.centre_m, 3)
        require_between("keep_out.spheres.radius_m", self.radius_m, 0.001, 10.0)


@dataclass(frozen=True, kw_only=True)
class CapsuleShape:
    """All points within a radius of a line between two points: a pole, a cable, a person's arm."""

    start_m: tuple[float, ...]
    end_m: tuple[float, ...]
    radius_m: float

    def __post_init__(self) -> None:
        """Raise ConfigError for anything but numbers, or a radius beyond [1 mm, 10 m]."""
        require_numbers("keep_out.capsules.start_m", self.start_m, 3)
        require_numbers("keep_out.capsules.end_m", self.end_m, 3)
        require_between("keep_out.capsules.radius_m", self.radius_m, 0.001, 10.0)


@dataclass(frozen=True, kw_only=True)
class KeepOut:
    """Where neither the tool nor the arm may be."""

    boxes: tuple[BoxShape, ...] = ()
    spheres: tuple[SphereShape, ...] = ()
    capsules: tuple[CapsuleShape, ...] = ()


class KeepOutField:
    """Signed distances to all shapes at once.

    To a convex shape they are convex functions of the point, so their linear part never promises more distance than a
    step really leaves: what the filter allows by it is allowed.
    """

    def __init__(self, shapes: KeepOut) -> None:
        """Stack the shapes into arrays; a sphere is a capsule without length."""
        rods = [(s.centre_m, s.centre_m, s.radius_m) for s in shapes.spheres]
        rods += [(c.start_m, c.end_m, c.radius_m) for c in shapes.capsules]
        self._start = np.array([rod[0] for rod in rods], dtype=float).reshape(-1, 1, 3)
        self._axis = np.array([rod[1] for rod in rods], dtype=float).reshape(-1, 1, 3) - self._start
        self._axis_per_length = self._axis / np.maximum((self._axis**2).sum(-1, keepdims=True), 1e-12)
        self._radius = np.array([rod[2] for rod in rods], dtype=float).reshape(-1, 1)
        self._centre = np.array([box.centre_m for box in shapes.boxes], dtype=float).reshape(-1, 1, 3)
        self._half = 0.5 * np.array([box.size_m for box in shapes.boxes], dtype=float).reshape(-1, 1, 3)
        yaw = np.array([box.yaw_rad for box in shapes.boxes], dtype=float)
        self._turn = np.zeros((len(yaw), 3, 3))
        self._turn[:, 0, 0] = self._turn[:, 1, 1] = np.cos(yaw)
        self._turn[:, 1, 0], self._turn[:, 0, 1] = np.sin(yaw), -np.sin(yaw)
        self._turn[:, 2, 2] = 1.0
        self.count = len(rods) + len(yaw)

    def distances(self, points_m: Array) -> tuple[Array, Array]:
        """Signed distances (count, N), negative inside, of points (N, 3), and the directions (count, N, 3) away."""
        parts = []
        if len(self._radius):
            parts.append(self._from_rods(points_m))
        if len(self._half):
            parts.append(self._from_boxes(points_m))
        if len(parts) == 1:
            return parts[0]
        if not parts:
            return np.zeros((0, len(points_m))), np.zeros((0, len(points_m), 3))
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])

    def _from_rods(self, points_m: Array) -> tuple[Array, Array]:
        away = points_m - self._start
        along = (away * self._axis_per_length).sum(-1, keepdims=True)
        away = away - np.minimum(np.maximum(along, 0.0), 1.0) * self._axis
        length = np.sqrt((away * away).sum(-1))
        normals = away / np.maximum(length, 1e-12)[..., None]
        normals[length < 1e-12] = _UP  # on the axis every direction leads out
        return length - self._radius, normals

    def _from_boxes(self, points_m: Array) -> tuple[Array, Array]:
        local = (points_m - self._centre) @ self._turn
        beyond = np.abs(local) - self._half
        outside = np.maximum(beyond, 0.0)
        length = np.sqrt((outside * outside).sum(-1))
        is_inside = length < 1e-12
        out = outside / np.maximum(length, 1e-12)[..., None]
        normals = np.where(is_inside[..., None], _AXES[beyond.argmax(-1)], out)
        normals = np.where(local < 0.0, -normals, normals) @ self._turn.transpose(0, 2, 1)
        return np.where(is_inside, beyond.max(-1), length), normals
