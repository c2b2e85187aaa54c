"""Puts observations of different rates together: one image per camera and the arm's state when it was taken."""

from bisect import bisect_left
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from d2ppo_core.bundle import Manifest
from d2ppo_core.errors import BundleError
from d2ppo_core.geometry import Array, RigidState, canonical_quat_xyzw, rotation_of

_MS = 1_000_000


class MissingObservationError(LookupError):
    """An observation is missing or too old; the text names it and says since when."""


@dataclass(frozen=True, kw_only=True)
class ArmSample:
    """State of the arm at one time: measured and commanded end effector, gripper opening, epoch."""

    stamp_ns: int
    measured: RigidState
    reference: RigidState
    gripper_width_m: float
    epoch: int


@dataclass(frozen=True)
class Observation:
    """What one inference sees: the graph's inputs without the noise, and the arm's state at capture."""

    stamp_ns: int
    inputs: dict[str, npt.NDArray[Any]]
    arm: ArmSample


class ObservationBuffer:
    """Keeps the newest image of each camera and a short history of the arm.

    The images decide the time: the arm's state is the one nearest to the capture of the oldest of the newest images.
    """

    def __init__(self, manifest: Manifest, max_age_s: float = 0.5, max_skew_s: float = 0.03) -> None:
        """Prepare for the observations of a bundle.

        Args:
            manifest: Names what the policy reads.
            max_age_s: Oldest observation that may be used.
            max_skew_s: Largest time between an image and the arm's state.

        Raises:
            BundleError: The bundle wants an observation that the robot cannot give.
        """
        unknown = [s.key for s in manifest.state_observations if s.key not in _STATE_READERS]
        if unknown:
            raise BundleError(f"bundle {manifest.name} wants {unknown}; the arm gives {sorted(_STATE_READERS)}")
        for spec in manifest.state_observations:
            if spec.shape != _STATE_SHAPES[spec.key]:
                gives = _STATE_SHAPES[spec.key]
                raise BundleError(f"bundle {manifest.name} wants {spec.key} as {spec.shape}; the arm gives {gives}")
        self._manifest = manifest
        self._T_world_base = np.asarray(manifest.T_world_base).reshape(4, 4)
        self._T_ee_site = np.asarray(manifest.T_ee_site).reshape(4, 4)
        self._max_age_ns = round(max_age_s * 1e9)
        self._max_skew_ns = round(max_skew_s * 1e9)
        self._arm: deque[ArmSample] = deque(maxlen=128)
        self._images: dict[str, tuple[int, npt.NDArray[np.uint8]]] = {}

    def push_arm(self, sample: ArmSample) -> None:
        """Add a state of the arm; a clock that jumps back clears the history."""
        if self._arm and sample.stamp_ns < self._arm[-1].stamp_ns:
            self._arm.clear()
        self._arm.append(sample)

    def push_image(self, camera: str, stamp_ns: int, image: npt.NDArray[np.uint8]) -> None:
        """Add an image (H, W, 3) of a camera; it replaces the one before.

        Raises:
            ValueError: The image has another size than the bundle was trained with.
        """
        for spec in self._manifest.image_observations:
            if spec.camera == camera and spec.shape != image.shape:
                raise ValueError(f"camera {camera} delivers {image.shape}, the bundle wants {spec.shape}")
        self._images[camera] = (stamp_ns, image)

    def assemble(self, now_ns: int) -> Observation:
        """Return the newest complete observation.

        Raises:
            MissingObservationError: Something is missing or too old.
        """
        if not self._arm:
            raise MissingObservationError("no state from the arm yet")
        stamps = [self._newest_stamp(str(s.camera), now_ns) for s in self._manifest.image_observations]
        stamp_ns = min(stamps, default=self._arm[-1].stamp_ns)
        sample = self._nearest_arm(stamp_ns)
        if now_ns - sample.stamp_ns > self._max_age_ns:
            raise MissingObservationError(f"the arm's state is {(now_ns - sample.stamp_ns) / _MS:.0f} ms old")
        if abs(sample.stamp_ns - stamp_ns) > self._max_skew_ns:
            raise MissingObservationError(
                f"no state of the arm within {self._max_skew_ns / _MS:.0f} ms of the image; "
                f"nearest is {abs(sample.stamp_ns - stamp_ns) / _MS:.0f} ms away"
            )
        return Observation(stamp_ns, self._inputs(sample), sample)

    def _newest_stamp(self, camera: str, now_ns: int) -> int:
        if camera not in self._images:
            raise MissingObservationError(f"no image from camera {camera} yet")
        stamp_ns = self._images[camera][0]
        if now_ns - stamp_ns > self._max_age_ns:
            raise MissingObservationError(
                f"camera {camera} stopped: newest image is {(now_ns - stamp_ns) / _MS:.0f} ms old"
            )
        return stamp_ns

    def _nearest_arm(self, stamp_ns: int) -> ArmSample:
        stamps = [sample.stamp_ns for sample in self._arm]
        after = bisect_left(stamps, stamp_ns)
        near = [self._arm[i] for i in (after - 1, after) if 0 <= i < len(stamps)]
        return min(near, key=lambda sample: abs(sample.stamp_ns - stamp_ns))

    def _inputs(self, sample: ArmSample) -> dict[str, npt.NDArray[Any]]:
        values = [
            _STATE_READERS[spec.key](sample, self._T_world_base, self._T_ee_site)
            for spec in self._manifest.state_observations
        ]
        state = np.concatenate([np.zeros(0), *values])  # a policy may look at pictures alone
        inputs: dict[str, npt.NDArray[Any]] = {"state": state.astype(np.float32)[None]}
        if self._manifest.image_observations:
            frames = [self._images[str(spec.camera)][1] for spec in self._manifest.image_observations]
            inputs["images"] = np.stack(frames)[None]
        return inputs


def _eef_pos(sample: ArmSample, T_world_base: Array, T_ee_site: Array) -> Array:
    return (T_world_base @ sample.measured.pose @ T_ee_site)[:3, 3]


def _eef_quat(sample: ArmSample, T_world_base: Array, _: Array) -> Array:
    return canonical_quat_xyzw(rotation_of(T_world_base @ sample.measured.pose).as_quat())


def _gripper_qpos(sample: ArmSample, _: Array, __: Array) -> Array:
    return np.array([0.5, -0.5]) * sample.gripper_width_m


_STATE_READERS = {"robot0_eef_pos": _eef_pos, "robot0_eef_quat": _eef_quat, "robot0_gripper_qpos": _gripper_qpos}
_STATE_SHAPES = {"robot0_eef_pos": (3,), "robot0_eef_quat": (4,), "robot0_gripper_qpos": (2,)}
