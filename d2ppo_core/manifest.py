"""The contract of a policy bundle: what the policy reads, what its numbers mean, and how often it is asked.

Whatever a ``manifest.yaml`` holds, a value that is not of the right kind is refused by its name.
"""

import math
import re
import reprlib
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import Any

import numpy as np

from d2ppo_core.errors import BundleError
from d2ppo_core.geometry import Array
from d2ppo_core.objects import KEY, ObjectPart, recipe_of, size_of
from d2ppo_core.representations import (
    FRAMES,
    OSC_DELTA,
    REPRESENTATIONS,
    ROTATION_SCALE_RAD,
    SIZES,
    TRANSLATION_SCALE_M,
)

_CAMERA = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_ROBOT = re.compile(r"robot(\d+)_(?=eef_|gripper_|joint_)")
_MAX_SIZE, _MAX_HORIZON, _MAX_HZ, _MAX_TEXT, _MAX_ARMS = 4096, 1000, 1000.0, 200, 8
_RIGID = 1e-3
"""Largest error of a rotation matrix; the shipped ones are exact to 1e-6."""
_IDENTITY_6 = tuple(float(i % 7 == 0) for i in range(36))
_IDENTITY = (1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class ObservationSpec:
    """One observation that the policy reads.

    Attributes:
        key: Name of the observation, as in robomimic datasets.
        shape: Shape of one sample, images as (height, width, 3).
        dtype: ``float32`` (low-dimensional) or ``uint8`` (image).
        unit: Unit of the values, e.g. ``m``.
        frame: Coordinate frame, e.g. ``world``.
        camera: Name of the camera topic that delivers it; None for low-dimensional ones.
        fit: How the graph makes pictures of this shape fit its encoder, in words; empty: it takes them as they are.
    """

    key: str
    shape: tuple[int, ...]
    dtype: str
    unit: str
    frame: str
    camera: str | None = None
    fit: str = ""

    def __post_init__(self) -> None:
        """Raise BundleError for a type, shape or camera that no policy could be given."""
        if self.dtype not in ("float32", "uint8"):
            raise BundleError(f"observation {self.key}: dtype must be float32 or uint8, got {self.dtype}")
        if (self.dtype == "uint8") != (self.camera is not None):
            raise BundleError(f"observation {self.key}: exactly the images (uint8) name a camera")
        if self.camera is not None and not _CAMERA.fullmatch(self.camera):
            raise BundleError(f"observation {self.key}: camera must be letters, digits and _, got {self.camera!r}")
        if self.camera is not None and (len(self.shape) != 3 or self.shape[2] != 3):
            raise BundleError(f"observation {self.key}: an image has a shape (height, width, 3), got {self.shape}")
        if not self.shape or not all(1 <= size <= _MAX_SIZE for size in self.shape):
            raise BundleError(f"observation {self.key}: sizes must lie in 1..{_MAX_SIZE}, got {self.shape}")


@dataclass(frozen=True, kw_only=True)
class ActionSpec:
    """What the policy's numbers mean.

    Attributes:
        representation: ``osc_delta``: goal = pose ⊕ scaled delta at each control tick, as robosuite's OSC_POSE;
            ``ee_absolute``: the goal itself. ``d2ppo_core.representations`` says what the numbers are.
        frame: Of the numbers: ``base`` for deltas, ``world`` (that of the observations) for goals.
        num_arms: Arms that an action moves; it holds the numbers of one after those of the other.
        dim: Size of one action, all arms together.
        translation_scale_m: Translation that a delta of 1 asks for, and how far a goal may be from the arm, per axis.
        rotation_scale_rad: The same for the rotation.
        kp: Stiffness of the training controller per unit of mass, 1/s².
        damping_ratio: Damping ratio of the training controller.
        coupling: (6×6, row-major) acceleration of the end effector per unit of the controller's output, base frame,
            translation before rotation. robosuite decouples translation and rotation from inertia each by itself, so
            the diagonal blocks are the identity, but one moves the other.
        control_hz: Rate of the actions within a chunk.
        gripper_open_width_m: Opening that a gripper action of −1 asks for; +1 closes.
    """

    representation: str = OSC_DELTA
    frame: str = FRAMES[OSC_DELTA]
    num_arms: int = 1
    dim: int = SIZES[OSC_DELTA]
    translation_scale_m: float = TRANSLATION_SCALE_M
    rotation_scale_rad: float = ROTATION_SCALE_RAD
    kp: float = 150.0
    damping_ratio: float = 1.0
    coupling: tuple[float, ...] = _IDENTITY_6
    control_hz: float = 20.0
    gripper_open_width_m: float = 0.08

    def __post_init__(self) -> None:
        """Raise BundleError for an unknown representation, or numbers that do not belong to it."""
        if self.representation not in REPRESENTATIONS:
            known = " or ".join(REPRESENTATIONS)
            raise BundleError(f"action representation must be {known}, got {self.representation}")
        if self.frame != FRAMES[self.representation]:
            raise BundleError(
                f"{self.representation} actions are in frame {FRAMES[self.representation]}, got {self.frame}"
            )
        if not 1 <= self.num_arms <= _MAX_ARMS:
            raise BundleError(f"num_arms must lie in 1..{_MAX_ARMS}, got {self.num_arms}")
        if self.dim != (wanted := self.num_arms * SIZES[self.representation]):
            arms = "one arm" if self.num_arms == 1 else f"{self.num_arms} arms"
            raise BundleError(f"{self.representation} actions of {arms} have {wanted} entries, got {self.dim}")
        if not (self.kp > 0.0 and self.damping_ratio > 0.0 and self.gripper_open_width_m > 0.0):
            raise BundleError(
                f"kp, damping_ratio and gripper_open_width_m must be positive, got {self.kp}, {self.damping_ratio}, "
                f"{self.gripper_open_width_m}"
            )
        if not (self.translation_scale_m > 0.0 and self.rotation_scale_rad > 0.0):
            raise BundleError(
                f"action scales must be positive, got {self.translation_scale_m} m and {self.rotation_scale_rad} rad"
            )
        if len(self.coupling) != 36:
            raise BundleError(f"coupling needs 36 numbers (6×6 row-major), got {len(self.coupling)}")
        if not 1.0 <= self.control_hz <= _MAX_HZ:
            raise BundleError(f"control_hz must lie in 1..{_MAX_HZ:.0f}, got {self.control_hz}")

    @property
    def arm_dim(self) -> int:
        """Numbers of one arm in an action."""
        return self.dim // self.num_arms


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The complete contract of a bundle.

    Attributes:
        name: Name of the bundle.
        task: Task that the policy was trained for.
        observations: What the policy reads, in the order of the graph's inputs.
        action: What it answers.
        pred_horizon: Actions per inference (Tp).
        action_horizon: Actions executed before the next inference is due.
        num_denoising_steps: Denoising steps K inside the graph.
        sampler: How the graph samples, e.g. ``ddim_trailing_eta0_clip_x0_recompute_eps``.
        denoising_times: Training times of the K steps, noisiest first; empty in bundles from before they were named.
        object_parts: What the observation ``object`` is put together from; empty in bundles from before it was written.
        T_world_base: Robot base in the frame of the observations, 4×4 row-major; that of each arm, one after the other.
        T_ee_site: The dataset's end-effector site in the robot's end-effector frame, 4×4 row-major.
        provenance: Where the bundle comes from: config and dataset hash, commit, seed, measured success.
    """

    name: str
    task: str
    observations: tuple[ObservationSpec, ...]
    action: ActionSpec
    pred_horizon: int
    action_horizon: int
    num_denoising_steps: int
    sampler: str
    T_world_base: tuple[float, ...] = _IDENTITY
    T_ee_site: tuple[float, ...] = _IDENTITY
    denoising_times: tuple[int, ...] = ()
    object_parts: tuple[ObjectPart, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise BundleError when the parts contradict each other, or a number is out of range."""
        if not self.observations:
            raise BundleError("a manifest lists at least one observation")
        names = [spec.key for spec in self.observations]
        if len(set(names)) != len(names):
            raise BundleError(f"a manifest lists an observation twice: {', '.join(names)}")
        if self.object_parts:
            got, wanted = [spec.shape for spec in self.observations if spec.key == KEY], (size_of(self.object_parts),)
            if got != [wanted]:
                raise BundleError(f"object_parts make an observation object of shape {wanted}, the manifest has {got}")
        if len({spec.shape for spec in self.image_observations}) > 1:
            raise BundleError(f"all images must have one shape, got {[s.shape for s in self.image_observations]}")
        if not (1 <= self.pred_horizon <= _MAX_HORIZON and 0 <= self.num_denoising_steps <= _MAX_HORIZON):
            raise BundleError(
                f"pred_horizon must lie in 1..{_MAX_HORIZON} and num_denoising_steps in 0..{_MAX_HORIZON}, got "
                f"{self.pred_horizon} and {self.num_denoising_steps}"
            )
        times = self.denoising_times
        if times and (len(times) != self.num_denoising_steps or list(times) != sorted({*times}, reverse=True)):
            raise BundleError(f"denoising_times must fall, {self.num_denoising_steps} of them, got {list(times)[:20]}")
        if not 1 <= self.action_horizon <= self.pred_horizon:
            raise BundleError(
                f"action_horizon must lie in 1..pred_horizon={self.pred_horizon}, got {self.action_horizon}"
            )
        self._refuse_other_arms()
        for name, arms in (("T_world_base", self.num_arms), ("T_ee_site", 1)):
            if len(getattr(self, name)) != 16 * arms:
                each = f" for each of {arms} arms" if arms > 1 else ""
                raise BundleError(f"{name} needs 16 numbers (4×4 row-major){each}, got {len(getattr(self, name))}")
            for matrix in np.asarray(getattr(self, name), dtype=float).reshape(-1, 4, 4):
                gram, last = matrix[:3, :3] @ matrix[:3, :3].T - np.eye(3), matrix[3].tolist()
                if np.abs(gram).max() > _RIGID or np.linalg.det(matrix[:3, :3]) < 0.0 or last != [0, 0, 0, 1]:
                    raise BundleError(f"{name} must be a rotation and a translation, got {getattr(self, name)}")

    def _refuse_other_arms(self) -> None:
        """Raise BundleError where something is observed of an arm that the actions do not move."""
        seen = {int(found[1]) for spec in self.observations if (found := _ROBOT.match(spec.key))}
        seen |= {part.arm for part in self.object_parts}
        if beyond := sorted(arm for arm in seen if arm >= self.num_arms):
            arms = "one arm" if self.num_arms == 1 else f"{self.num_arms} arms"
            raise BundleError(f"the actions are of {arms}, but robot{beyond[0]} is observed")

    @property
    def state_observations(self) -> tuple[ObservationSpec, ...]:
        """The low-dimensional observations, in the order in which the graph's ``state`` input holds them."""
        return tuple(spec for spec in self.observations if spec.camera is None)

    @property
    def image_observations(self) -> tuple[ObservationSpec, ...]:
        """The images, in the order in which the graph's ``images`` input holds them."""
        return tuple(spec for spec in self.observations if spec.camera is not None)

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras, in the order of the images."""
        return tuple(str(spec.camera) for spec in self.image_observations)

    @property
    def num_arms(self) -> int:
        """Arms that it moves."""
        return self.action.num_arms

    @property
    def bases(self) -> Array:
        """(arms, 4, 4) bases of the robots in the frame of the observations."""
        return np.asarray(self.T_world_base, dtype=float).reshape(-1, 4, 4)

    @property
    def object_recipe(self) -> tuple[ObjectPart, ...]:
        """What ``object`` is put together from: as written, else as the bundle's task has it; empty if nobody knows."""
        sizes = [int(np.prod(spec.shape)) for spec in self.observations if spec.key == KEY]
        return self.object_parts or (recipe_of(self.task, sizes[0]) if sizes else ())

    @property
    def sampler_times(self) -> str:
        """`trailing`, `centred` or `leading`, where the denoising steps lie; empty for a sampler without any."""
        if not self.num_denoising_steps:
            return ""
        return next((times for times in ("trailing", "centred") if f"_{times}_" in self.sampler), "leading")

    @property
    def input_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each graph input: ``state``, ``images`` (image policies only) and ``noise``."""
        shapes: dict[str, tuple[int, ...]] = {
            "state": (1, sum(int(np.prod(spec.shape)) for spec in self.state_observations)),
            "noise": (1, self.pred_horizon, self.action.dim),
        }
        images = self.image_observations
        if images:
            shapes["images"] = (1, len(images), *images[0].shape)
        return shapes


def manifest_from(raw: object, where: str = "manifest") -> Manifest:
    """Make a manifest of what a YAML file held, without its ``format_version``.

    Raises:
        BundleError: A key is unknown or missing, or a value is not of the right kind; the message names it.
    """
    manifest = _read(Manifest, raw, where)
    assert isinstance(manifest, Manifest)
    return manifest


def _read(kind: Any, raw: object, where: str) -> Any:
    """Make a dataclass of a mapping."""
    if not isinstance(raw, dict):
        raise BundleError(f"{where} must be a mapping, got {_short(raw)}")
    known = {f.name: f for f in fields(kind)}
    if unknown := [_short(key) for key in raw if key not in known]:
        raise BundleError(f"{where} has unknown keys [{', '.join(unknown[:5])}]; known: {', '.join(known)}")
    needed = [name for name, f in known.items() if f.default is MISSING and f.default_factory is MISSING]
    if missing := [name for name in needed if name not in raw]:
        raise BundleError(f"{where} is incomplete: it misses {', '.join(missing)}")
    hints = typing.get_type_hints(kind)
    values = {key: _value(hints[key], value, f"{where}: {key}") for key, value in raw.items()}
    try:
        return kind(**values)
    except BundleError as error:
        raise BundleError(f"{where}: {error}") from error


def _value(hint: Any, value: object, where: str) -> Any:
    """Return a value as its field wants it: text, whole or finite number, list of them, mapping, or a part."""
    if is_dataclass(hint):
        return _read(hint, value, where)
    if typing.get_origin(hint) is types.UnionType:  # text or None
        return None if value is None else _value(typing.get_args(hint)[0], value, where)
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list) or len(value) > _MAX_SIZE:
            raise BundleError(f"{where} must be a list, got {_short(value)}")
        item = typing.get_args(hint)[0]
        return tuple(_value(item, one, f"{where}[{index}]") for index, one in enumerate(value))
    if typing.get_origin(hint) is Mapping:
        if not isinstance(value, dict):
            raise BundleError(f"{where} must be a mapping, got {_short(value)}")
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1e12:
        return float(value)
    if isinstance(value, bool) or not isinstance(value, hint):
        raise BundleError(f"{where} must be {_KINDS[hint]}, got {_short(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise BundleError(f"{where} must be finite, got {value}")
    if isinstance(value, str) and not (value.isprintable() and len(value) <= _MAX_TEXT):
        raise BundleError(f"{where} must be a line of at most {_MAX_TEXT} printable characters, got {_short(value)}")
    return value


_KINDS = {str: "a text", int: "a whole number", float: "a number"}


def _short(value: object) -> str:
    """Write any value in a few characters, however large it is."""
    return reprlib.repr(value)[:80]
