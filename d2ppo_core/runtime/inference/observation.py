"""Puts observations of different rates together, at the time of the capture: images, objects, and each arm's state.

This is the one place where an observation is made. It knows neither ROS nor a clock: the policy node calls it as
messages arrive, and whoever has recorded the same messages gets the same observations from them, to the bit:

1. make an ``ObservationBuffer`` for the bundle's manifest, with the tolerances that the policy node had;
2. push what was recorded in the order of its arrival: ``push_arm`` (``arm/state``), ``push_image``
   (``camera/<name>/policy/image_raw`` under the camera's name in the manifest; of a camera's own pictures what
   ``View.apply`` makes of them), ``push_objects`` (``perception/objects``);
3. ``assemble(now_ns)`` with the time at which the policy looked (``ActionChunk.inference_start``), or, for training
   data at times of one's own, ``assemble(now_ns, at_ns)`` after everything until a little later was pushed.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from d2ppo_core.bundle import Manifest
from d2ppo_core.errors import BundleError
from d2ppo_core.geometry import Array, canonical_quat_xyzw, rotation_of
from d2ppo_core.objects import KEY, size_of
from d2ppo_core.runtime.inference.arm_history import EXACT, NEAREST, ArmHistory, ArmSample
from d2ppo_core.runtime.inference.missing import MissingObservationError
from d2ppo_core.runtime.inference.picture_history import PictureHistory
from d2ppo_core.runtime.inference.sightings import ObjectMemory, Sightings

__all__ = ["ArmSample", "MissingObservationError", "Observation", "ObservationBuffer", "Sightings", "Used"]

_MS = 1_000_000


@dataclass(frozen=True)
class Used:
    """What was taken of one device.

    Attributes:
        device: `the arm`, `arm left`, `camera wrist`.
        age_s: From what it told to the moment at which it was used.
        skew_s: From the observation's time to what it told; of an interpolated state to the nearest of the two.
        how: `exact`, `interpolated` or `nearest`.
    """

    device: str
    age_s: float
    skew_s: float
    how: str

    def __str__(self) -> str:
        """In a few words, for status lines."""
        return f"{self.device} {self.how}, age {self.age_s * 1e3:.1f} ms, skew {self.skew_s * 1e3:+.1f} ms"


@dataclass(frozen=True)
class Observation:
    """What one inference sees: the graph's inputs without the noise, each arm's state at capture, where from."""

    stamp_ns: int
    inputs: dict[str, npt.NDArray[Any]]
    arms: tuple[ArmSample, ...]
    used: tuple[Used, ...] = ()

    @property
    def epochs(self) -> tuple[int, ...]:
        """Of the arms."""
        return tuple(arm.epoch for arm in self.arms)


class ObservationBuffer:
    """Keeps the last images of each camera, the newest pose of each object, and a short history of each arm.

    What is seen decides the time: the oldest of the newest images and poses. Of each camera that image is taken which
    is nearest to it, and each arm's state is interpolated to it.
    """

    def __init__(
        self, manifest: Manifest, max_age_s: float = 0.5, max_skew_s: float = 0.03, *, arms: tuple[str, ...] = ()
    ) -> None:
        """Prepare for the observations of a bundle.

        Args:
            manifest: Names what the policy reads.
            max_age_s: Oldest observation that may be used; as far may a stamp lie ahead of the present.
            max_skew_s: Largest time between what is observed and an image, or the nearest state that an arm told.
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
        self._arms = [ArmHistory() for _ in numbers]
        self._shapes = {str(spec.camera): spec.shape for spec in manifest.image_observations}
        self._cameras = {camera: PictureHistory() for camera in self._shapes}
        self._objects = ObjectMemory(recipe, self._bases[0], self._max_age_ns)

    @property
    def object_names(self) -> tuple[str, ...]:
        """Objects that the bundle's policy wants to know of."""
        return self._objects.names

    @property
    def arms_ns(self) -> int:
        """Until when all arms have told their states; -1 where one said nothing yet."""
        return min(history.newest_ns for history in self._arms)

    def push_arm(self, sample: ArmSample, arm: int = 0) -> None:
        """Add a state of an arm; a clock that jumps back clears its history."""
        self._arms[arm].push(sample)

    def push_objects(self, sightings: Sightings) -> None:
        """Add what a source of object poses saw; each pose replaces the one before."""
        self._objects.push(sightings)

    def push_image(self, camera: str, stamp_ns: int, image: npt.NDArray[np.uint8]) -> None:
        """Add an image (H, W, 3) of a camera; a clock that jumps back clears its history.

        Raises:
            ValueError: The image has another size than the bundle was trained with.
        """
        if camera not in self._cameras:
            return
        if self._shapes[camera] != image.shape:
            raise ValueError(f"camera {camera} delivers {image.shape}, the bundle wants {self._shapes[camera]}")
        self._cameras[camera].push(stamp_ns, image)

    def assemble(self, now_ns: int, at_ns: int | None = None) -> Observation:
        """Return the newest complete observation, or that of another time.

        Args:
            now_ns: The present, by which ages are judged.
            at_ns: The time to be observed; None: the newest of which everything that is seen is there.

        Raises:
            MissingObservationError: Something is missing, too old, not of one time, or no number.
        """
        if silent := [called for called, history in zip(self._called, self._arms, strict=True) if not history]:
            raise MissingObservationError(f"no state from {' and '.join(silent)} yet")
        stamps = [self._newest_ns(camera, now_ns) for camera in self._cameras]
        newest_ns = min([*stamps, *self._objects.stamps_ns(now_ns)], default=self.arms_ns)
        stamp_ns = newest_ns if at_ns is None else at_ns
        used: list[Used] = []
        images = [self._image(camera, stamp_ns, now_ns, used) for camera in self._manifest.cameras]
        samples = tuple(self._sample(arm, stamp_ns, now_ns, used) for arm in range(len(self._arms)))
        return Observation(stamp_ns, self._inputs(samples, images), samples, tuple(used))

    def _sample(self, arm: int, stamp_ns: int, now_ns: int, used: list[Used]) -> ArmSample:
        """State of an arm at this time."""
        sample, off_ns, how = self._arms[arm].at(stamp_ns)
        age_ns = now_ns - stamp_ns - off_ns
        if age_ns > self._max_age_ns:
            raise MissingObservationError(f"{self._called[arm]}'s state is {age_ns / _MS:.0f} ms old")
        if abs(off_ns) > self._max_skew_ns:
            raise MissingObservationError(
                f"no state of {self._called[arm]} within {self._max_skew_ns / _MS:.0f} ms of what was seen; "
                f"nearest is {abs(off_ns) / _MS:.0f} ms away"
            )
        used.append(Used(self._called[arm], age_ns * 1e-9, off_ns * 1e-9, how))
        return sample

    def _newest_ns(self, camera: str, now_ns: int) -> int:
        stamp_ns = self._cameras[camera].newest_ns
        if stamp_ns is None:
            raise MissingObservationError(f"no image from camera {camera} yet")
        age_ms = (now_ns - stamp_ns) / _MS
        if age_ms * _MS > self._max_age_ns:
            raise MissingObservationError(f"camera {camera} stopped: newest image is {age_ms:.0f} ms old")
        if -age_ms * _MS > self._max_age_ns:
            raise MissingObservationError(f"camera {camera} is {-age_ms:.0f} ms ahead: its clock is another")
        return stamp_ns

    def _image(self, camera: str, stamp_ns: int, now_ns: int, used: list[Used]) -> npt.NDArray[np.uint8]:
        taken_ns, image = self._cameras[camera].nearest(stamp_ns)
        off_ns = taken_ns - stamp_ns
        if abs(off_ns) > self._max_skew_ns:
            raise MissingObservationError(
                f"no image from camera {camera} within {self._max_skew_ns / _MS:.0f} ms of what else was seen; "
                f"nearest is {abs(off_ns) / _MS:.0f} ms away"
            )
        how = NEAREST if off_ns else EXACT
        used.append(Used(f"camera {camera}", (now_ns - taken_ns) * 1e-9, off_ns * 1e-9, how))
        return image

    def _inputs(
        self, samples: tuple[ArmSample, ...], images: list[npt.NDArray[np.uint8]]
    ) -> dict[str, npt.NDArray[Any]]:
        values = [np.zeros(0)]  # a policy may look at pictures alone
        for spec in self._manifest.state_observations:
            value = self._value(spec.key, samples)
            if not np.isfinite(value).all():
                raise MissingObservationError(f"observation {spec.key} is no number: {value.round(3).tolist()}")
            values.append(value)
        inputs: dict[str, npt.NDArray[Any]] = {"state": np.concatenate(values).astype(np.float32)[None]}
        if images:
            inputs["images"] = np.stack(images)[None]
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
