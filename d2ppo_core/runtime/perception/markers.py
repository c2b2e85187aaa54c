"""Marker file: which printed markers are on which objects, and where an object's frame sits on each; strict YAML."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.spatial.transform import Rotation

from d2ppo_core.config.load import from_mapping
from d2ppo_core.errors import ConfigError
from d2ppo_core.geometry import Array, inverse, transform_from
from d2ppo_core.runtime.safety.shapes import require_between, require_numbers
from d2ppo_core.shipped import named_file
from d2ppo_core.yaml_file import read_yaml

DICTIONARIES = {
    "4X4_50": 6, "4X4_100": 6, "5X5_50": 7, "5X5_100": 7, "6X6_50": 8, "6X6_100": 8,
    "APRILTAG_16h5": 6, "APRILTAG_25h9": 7, "APRILTAG_36h11": 8,
}  # fmt: skip
"""OpenCV's name of a family of markers -> cells along a side, black border included."""


@dataclass(frozen=True, kw_only=True)
class Marker:
    """A printed square on an object; a white margin of a cell's width or more is around it.

    Attributes:
        id: Its number in the dictionary.
        size_m: Side of the black square.
        object_m: The object's origin in the marker's frame: x to the right, y up, z out of the marker.
        object_rpy_deg: The object's axes there: rotations about the marker's x, y and z, in this order.
    """

    id: int
    size_m: float
    object_m: tuple[float, ...]
    object_rpy_deg: tuple[float, ...] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        """Raise ConfigError for a number that cannot be meant."""
        require_between("markers.id", self.id, 0, 10_000)
        require_between("markers.size_m", self.size_m, 0.005, 1.0)
        require_numbers("markers.object_m", self.object_m, 3)
        require_numbers("markers.object_rpy_deg", self.object_rpy_deg, 3)

    @cached_property
    def T_object_marker(self) -> Array:
        """4×4."""
        rotation = Rotation.from_euler("xyz", self.object_rpy_deg, degrees=True)
        return inverse(transform_from(self.object_m, rotation))

    @cached_property
    def corners_m(self) -> Array:
        """(4, 3) corners in the object's frame, in the order in which OpenCV finds them."""
        half = self.size_m / 2.0
        flat = np.array([(-half, half, 0.0), (half, half, 0.0), (half, -half, 0.0), (-half, -half, 0.0)])
        return flat @ self.T_object_marker[:3, :3].T + self.T_object_marker[:3, 3]


@dataclass(frozen=True, kw_only=True)
class MarkedObject:
    """An object that wears markers; one that is turned wants them on several sides."""

    name: str
    markers: tuple[Marker, ...]

    def __post_init__(self) -> None:
        """Raise ConfigError for an object without name or markers."""
        if not self.name or not self.markers:
            raise ConfigError(f"objects: each needs a name and markers, got {self.name!r} with {len(self.markers)}")


@dataclass(frozen=True, kw_only=True)
class Markers:
    """All of them.

    Attributes:
        dictionary: Family of markers, as OpenCV calls it without ``DICT_``.
        objects: Who wears which.
    """

    dictionary: str = "4X4_50"
    objects: tuple[MarkedObject, ...]

    def __post_init__(self) -> None:
        """Raise ConfigError for an unknown dictionary, a name or marker that is there twice."""
        if self.dictionary not in DICTIONARIES:
            raise ConfigError(f"dictionary: wanted one of {', '.join(DICTIONARIES)}, got {self.dictionary!r}")
        if not self.objects:
            raise ConfigError("objects: wanted at least one, got none")
        for what, seen in (
            ("object", Counter(thing.name for thing in self.objects)),
            ("marker", Counter(marker.id for thing in self.objects for marker in thing.markers)),
        ):
            if twice := [str(one) for one, count in seen.items() if count > 1]:
                raise ConfigError(f"objects: {what} {', '.join(twice)} is there twice; each stands for one thing")

    @property
    def cells(self) -> int:
        """Along a side of a marker, its black border included."""
        return DICTIONARIES[self.dictionary]


def load_markers(text: str) -> Markers:
    """Return the markers of a YAML file, given by its path or by the name of a shipped one.

    Raises:
        ConfigError: There is no such file, it is no YAML, or a key or value is not allowed.
    """
    path = named_file("marker", text)
    content = read_yaml(path)
    try:
        return from_mapping(Markers, content)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
