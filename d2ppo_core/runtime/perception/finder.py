"""Finds marked objects in a picture, and says of each that it does not find why not."""

from __future__ import annotations

import importlib
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from d2ppo_core.errors import ConfigError
from d2ppo_core.extras import how_to_get
from d2ppo_core.geometry import Array
from d2ppo_core.runtime.perception.edges import refined_corners
from d2ppo_core.runtime.perception.markers import MarkedObject, Markers
from d2ppo_core.runtime.perception.pose import Estimate, pose_of_several, pose_of_square

WORST_PX = 1.5
"""Largest RMS distance of corners from where the pose puts them; beyond it something is not where the file says."""


@dataclass(frozen=True)
class Found:
    """What is in a picture.

    Attributes:
        poses: Object -> where it is, in the camera's optical frame: x right, y down, z forward.
        missing: Object -> why it is not among them, in a few words.
    """

    poses: dict[str, Estimate]
    missing: dict[str, str]


class MarkerFinder:
    """OpenCV finds the squares and reads them; their sides are measured, and all corners of an object make its pose.

    One thread, which leaves the other cores to whoever needs them.
    """

    def __init__(self, markers: Markers, max_std_m: float = 0.01, max_std_rad: float = 0.1) -> None:
        """Look for these markers; a pose that is less certain than the bounds is none.

        Raises:
            ConfigError: OpenCV is not installed, or the dictionary has no marker of a wanted number.
        """
        try:
            self._cv2: Any = importlib.import_module("cv2")
        except ImportError:
            raise ConfigError(how_to_get("cv2")) from None
        self._cv2.setNumThreads(1)
        aruco = self._cv2.aruco
        dictionary = aruco.getPredefinedDictionary(getattr(aruco, f"DICT_{markers.dictionary}"))
        self._owners = {marker.id: thing for thing in markers.objects for marker in thing.markers}
        most = len(dictionary.bytesList) - 1
        if unknown := [number for number in self._owners if number > most]:
            raise ConfigError(f"dictionary {markers.dictionary} has markers 0 to {most}, none of number {unknown[0]}")
        self._detector = aruco.ArucoDetector(dictionary)
        self._markers, self._bounds = markers, (max_std_m, max_std_rad)

    def find(self, image: npt.NDArray[np.uint8], K: Array, distortion: Array) -> Found:
        """Find the objects in an (H, W, 3) RGB picture.

        Args:
            image: The picture.
            K: (3, 3) intrinsics, px; (0, 0) is the middle of the first pixel.
            distortion: OpenCV's coefficients (plumb bob), none or zeros for a lens without.
        """
        grey = self._cv2.cvtColor(image, self._cv2.COLOR_RGB2GRAY)
        corners, ids, _ = self._detector.detectMarkers(grey)
        exact = grey.astype(np.float32)
        numbers = [] if ids is None else [int(number) for number in np.ravel(ids)]
        seen: dict[int, Array] = {}
        for number, four in zip(numbers, corners, strict=True):
            better = refined_corners(self._cv2, exact, np.reshape(four, (4, 2)), self._markers.cells)
            if number in self._owners and better is not None:
                seen[number] = self._cv2.undistortPoints(better[:, None], K, distortion, P=K).reshape(4, 2)
        twice = {number for number, count in Counter(numbers).items() if count > 1}
        found = Found({}, {})
        for thing in self._markers.objects:
            answer = self._pose(thing, seen, twice, K)
            if isinstance(answer, str):
                found.missing[thing.name] = answer
            else:
                found.poses[thing.name] = answer
        return found

    def _pose(self, thing: MarkedObject, seen: dict[int, Array], twice: set[int], K: Array) -> Estimate | str:
        """Where an object is, or why nobody can tell."""
        if doubled := [marker.id for marker in thing.markers if marker.id in twice]:
            return f"marker {doubled[0]} is in the picture twice"
        worn = [marker for marker in thing.markers if marker.id in seen]
        if not worn:
            numbers = ", ".join(str(marker.id) for marker in thing.markers)
            return f"no marker of it ({numbers}) is wholly in sight"
        if len(worn) == 1:
            estimate = pose_of_square(self._cv2, worn[0], seen[worn[0].id], K)
        else:
            points = np.concatenate([marker.corners_m for marker in worn])
            estimate = pose_of_several(self._cv2, points, np.concatenate([seen[marker.id] for marker in worn]), K)
        if estimate is None or estimate.rms_px > WORST_PX:
            by = "" if estimate is None else f", by {estimate.rms_px:.1f} px"
            return f"its markers fit no pose{by}; are they where their file says?"
        if estimate.std_m > self._bounds[0] or estimate.std_rad > self._bounds[1]:
            return f"seen too vaguely: ± {estimate.std_m * 1e3:.1f} mm, ± {np.degrees(estimate.std_rad):.1f}°"
        return estimate
