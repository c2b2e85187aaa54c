"""Puts observations of different rates together: images and objects, and the arm's state when they were seen."""

from bisect import bisect_left
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from d2ppo_core.bundle import Manifest
from d2ppo_core.errors import BundleError
from d2ppo_core.geometry import Array, RigidState, canonical_quat_xyzw, rotation_of
from d2ppo_core.objects import KEY, size_of
from d2ppo_core.runtime.inference.missing import MissingObservationError
from d2ppo_core.runtime.inference.sightings import ObjectMemory, Sightings

__all__ = ["ArmSample", "MissingObservationError", "Observation", "ObservationBuffer", "Sightings"]

_MS = 1_000_000


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
    """What one inference sees: the graph's inputs without the noise, and each arm's state at capture."""

    stamp_ns: int
    inputs: dict[str, npt.NDArray[Any]]
    arms: tuple[ArmSample, ...]

    @property
    def epochs(self) -> tuple[int, ...]:
        """Of the arms."""
        return tuple(arm.epoch for arm in self.arms)


class ObservationBuffer:
    """Keeps the newest image of each camera, the newest pose of each object, and a short history of each arm.

    What is seen decides the time: an arm's state is the one nearest to the oldest of the newest images and poses.
    """

    def __init__(
        self, manifest: Manifest, max_age_s: float = 0.5, max_skew_s: float = 0.03, *, arms: tuple[str, ...] = ()
    ) -> None:
        """Prepare for the observations of a bundle.

        Args:
            manifest: Names what the policy reads.
            max_age_s: Oldest observation that may be used.
            max_skew_s: Largest time between an image and the arm's state.
            arms: What the arms are called, for messages; one needs no name.

        Raises:
            BundleError: The bundle wants an observation that the robots cannot give.
        """
        recipe, numbers = manifest.object_recipe, range(manifest.num_arms)
        given = {f"robot{arm}_{part}": shape for arm in numbers for part, (shape, _) in _ARM_PARTS.items()}
        given |= {KEY: (size_of(recipe),)} if recipe else {}
        for spec in manifest.state_observations:
            if spec.key == KEY and not recipe:
                raise BundleError(
                    f"bundle {manifest.name} wants {KEY}, but neither its object_parts nor its task {manifest.task} "
                    "says which poses that is; export it again"
                )
            if spec.key not in given:
                raise BundleError(f"bundle {manifest.name} wants {spec.key}; there are {', '.join(given)}")
            if spec.shape != given[spec.key]:
                raise BundleError(f"bundle {manifest.name} wants {spec.key} as {spec.shape}; it is {given[spec.key]}")
        self._manifest = manifest
        self._bases = manifest.bases
        self._T_ee_site = np.asarray(manifest.T_ee_site).reshape(4, 4)
        self._called = ["the arm"] if len(numbers) == 1 else [f"arm {name}" for name in arms or numbers]
        self._max_age_ns = round(max_age_s * 1e9)
        self._max_skew_ns = round(max_skew_s * 1e9)
        self._arms: list[deque[ArmSample]] = [deque(maxlen=128) for _ in numbers]
        self._images: dict[str, tuple[int, npt.NDArray[np.uint8]]] = {}
        self._objects = ObjectMemory(recipe, self._bases[0], self._max_age_ns)

    @property
    def object_names(self) -> tuple[str, ...]:
        """Objects that the bundle's policy wants to know of."""
        return self._objects.names

    @property
    def arms_ns(self) -> int:
        """Until when all arms have told their states; -1 where one said nothing yet."""
        return min((history[-1].stamp_ns if history else -1) for history in self._arms)

    def push_arm(self, sample: ArmSample, arm: int = 0) -> None:
        """Add a state of an arm; a clock that jumps back clears its history."""
        history = self._arms[arm]
        if history and sample.stamp_ns < history[-1].stamp_ns:
            history.clear()
        history.append(sample)

    def push_objects(self, sightings: Sightings) -> None:
        """Add what a source of object poses saw; each pose replaces the one before."""
        self._objects.push(sightings)

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
        if silent := [called for called, history in zip(self._called, self._arms, strict=True) if not history]:
            raise MissingObservationError(f"no state from {' and '.join(silent)} yet")
        stamps = [self._newest_stamp(str(s.camera), now_ns) for s in self._manifest.image_observations]
        stamp_ns = min([*stamps, *self._objects.stamps_ns(now_ns)], default=self.arms_ns)
        samples = tuple(self._sample(arm, stamp_ns, now_ns) for arm in range(len(self._arms)))
        return Observation(stamp_ns, self._inputs(samples), samples)

    def _sample(self, arm: int, stamp_ns: int, now_ns: int) -> ArmSample:
        """State of an arm at this time."""
        sample = self._nearest(self._arms[arm], stamp_ns)
        if now_ns - sample.stamp_ns > self._max_age_ns:
            age_ms = (now_ns - sample.stamp_ns) / _MS
            raise MissingObservationError(f"{self._called[arm]}'s state is {age_ms:.0f} ms old")
        if abs(sample.stamp_ns - stamp_ns) > self._max_skew_ns:
            raise MissingObservationError(
                f"no state of {self._called[arm]} within {self._max_skew_ns / _MS:.0f} ms of what was seen; "
                f"nearest is {abs(sample.stamp_ns - stamp_ns) / _MS:.0f} ms away"
            )
        return sample

    def _newest_stamp(self, camera: str, now_ns: int) -> int:
        if camera not in self._images:
            raise MissingObservationError(f"no image from camera {camera} yet")
        stamp_ns = self._images[camera][0]
        if now_ns - stamp_ns > self._max_age_ns:
            raise MissingObservationError(
                f"camera {camera} stopped: newest image is {(now_ns - stamp_ns) / _MS:.0f} ms old"
            )
        return stamp_ns

    @staticmethod
    def _nearest(history: deque[ArmSample], stamp_ns: int) -> ArmSample:
        stamps = [sample.stamp_ns for sample in history]
        after = bisect_left(stamps, stamp_ns)
        near = [history[i] for i in (after - 1, after) if 0 <= i < len(stamps)]
        return min(near, key=lambda sample: abs(sample.stamp_ns - stamp_ns))

    def _inputs(self, samples: tuple[ArmSample, ...]) -> dict[str, npt.NDArray[Any]]:
        values = [self._value(spec.key, samples) for spec in self._manifest.state_observations]
        state = np.concatenate([np.zeros(0), *values])  # a policy may look at pictures alone
        inputs: dict[str, npt.NDArray[Any]] = {"state": state.astype(np.float32)[None]}
        if self._manifest.image_observations:
            frames = [self._images[str(spec.camera)][1] for spec in self._manifest.image_observations]
            inputs["images"] = np.stack(frames)[None]
        return inputs

    def _value(self, key: str, samples: tuple[ArmSample, ...]) -> Array:
        if key == KEY:
            hands = [base @ sample.measured.pose for base, sample in zip(self._bases, samples, strict=True)]
            return self._objects.state(hands, self._T_ee_site)
        robot, _, part = key.partition("_")
        arm, (_, read) = int(robot.removeprefix("robot")), _ARM_PARTS[part]
        return read(samples[arm], self._bases[arm], self._T_ee_site)


def _eef_pos(sample: ArmSample, T_world_base: Array, T_ee_site: Array) -> Array:
    return (T_world_base @ sample.measured.pose @ T_ee_site)[:3, 3]


def _eef_quat(sample: ArmSample, T_world_base: Array, _: Array) -> Array:
    return canonical_quat_xyzw(rotation_of(T_world_base @ sample.measured.pose).as_quat())


def _gripper_qpos(sample: ArmSample, _: Array, __: Array) -> Array:
    return np.array([0.5, -0.5]) * sample.gripper_width_m


_ARM_PARTS = {"eef_pos": ((3,), _eef_pos), "eef_quat": ((4,), _eef_quat), "gripper_qpos": ((2,), _gripper_qpos)}
"""What is observed of an arm, after `robot<number>_`: its shape and how it is read."""
