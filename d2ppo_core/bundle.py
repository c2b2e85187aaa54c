"""The policy bundle: a folder that holds everything a robot needs to run a policy, and nothing executable.

``policy.onnx`` is the whole policy as one graph, ``manifest.yaml`` the contract around it, ``golden.npz`` an example
of what it must answer, ``checksums.yaml`` the SHA-256 of each. There is no pickle anywhere.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from d2ppo_core.errors import BundleError
from d2ppo_core.output import check_folder, writing_folder
from d2ppo_core.representations import (
    FRAMES,
    OSC_DELTA,
    REPRESENTATIONS,
    ROTATION_SCALE_RAD,
    SIZES,
    TRANSLATION_SCALE_M,
)

FORMAT_VERSION = 1
BUNDLED = Path(__file__).parent / "bundles"
"""Folder of the bundles that ship with the package."""

_FILES = ("policy.onnx", "manifest.yaml", "golden.npz")
_CHECKSUMS = "checksums.yaml"
_WHAT = "bundle"
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
        if self.dtype not in ("float32", "uint8"):
            raise BundleError(f"observation {self.key}: dtype must be float32 or uint8, got {self.dtype}")
        if (self.dtype == "uint8") != (self.camera is not None):
            raise BundleError(f"observation {self.key}: exactly the images (uint8) name a camera")


@dataclass(frozen=True, kw_only=True)
class ActionSpec:
    """What the policy's numbers mean.

    Attributes:
        representation: ``osc_delta``: goal = pose ⊕ scaled delta at each control tick, as robosuite's OSC_POSE;
            ``ee_absolute``: the goal itself. ``d2ppo_core.representations`` says what the numbers are.
        frame: Of the numbers: ``base`` for deltas, ``world`` (that of the observations) for goals.
        dim: Size of one action.
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
    dim: int = SIZES[OSC_DELTA]
    translation_scale_m: float = TRANSLATION_SCALE_M
    rotation_scale_rad: float = ROTATION_SCALE_RAD
    kp: float = 150.0
    damping_ratio: float = 1.0
    coupling: tuple[float, ...] = _IDENTITY_6
    control_hz: float = 20.0
    gripper_open_width_m: float = 0.08

    def __post_init__(self) -> None:
        if self.representation not in REPRESENTATIONS:
            known = " or ".join(REPRESENTATIONS)
            raise BundleError(f"action representation must be {known}, got {self.representation}")
        if self.frame != FRAMES[self.representation]:
            raise BundleError(
                f"{self.representation} actions are in frame {FRAMES[self.representation]}, got {self.frame}"
            )
        if self.dim != SIZES[self.representation]:
            wanted = SIZES[self.representation]
            raise BundleError(f"{self.representation} actions of one arm have {wanted} entries, got {self.dim}")
        if not (self.translation_scale_m > 0.0 and self.rotation_scale_rad > 0.0):
            raise BundleError(
                f"action scales must be positive, got {self.translation_scale_m} m and {self.rotation_scale_rad} rad"
            )
        if len(self.coupling) != 36:
            raise BundleError(f"coupling needs 36 numbers (6×6 row-major), got {len(self.coupling)}")
        if not self.control_hz > 0.0:
            raise BundleError(f"control_hz must be positive, got {self.control_hz}")


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
        sampler: How the graph samples, e.g. ``ddim_eta0_clip_recompute_eps``.
        T_world_base: Robot base in the frame of the observations, 4×4 row-major.
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
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.observations:
            raise BundleError("a manifest lists at least one observation")
        if not 1 <= self.action_horizon <= self.pred_horizon:
            raise BundleError(
                f"action_horizon must lie in 1..pred_horizon={self.pred_horizon}, got {self.action_horizon}"
            )
        for name in ("T_world_base", "T_ee_site"):
            if len(getattr(self, name)) != 16:
                raise BundleError(f"{name} needs 16 numbers (4×4 row-major), got {len(getattr(self, name))}")

    @property
    def state_observations(self) -> tuple[ObservationSpec, ...]:
        """The low-dimensional observations, in the order in which the graph's ``state`` input holds them."""
        return tuple(spec for spec in self.observations if spec.camera is None)

    @property
    def image_observations(self) -> tuple[ObservationSpec, ...]:
        """The images, in the order in which the graph's ``images`` input holds them."""
        return tuple(spec for spec in self.observations if spec.camera is not None)

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


@dataclass(frozen=True)
class Golden:
    """An example that a loaded policy must reproduce: graph inputs by name, and the (1, Tp, Da) actions."""

    inputs: dict[str, npt.NDArray[Any]]
    actions: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files agree with their checksums."""

    folder: Path
    manifest: Manifest
    onnx_path: Path
    golden: Golden
    hash: str


def find_bundle(name_or_path: str | Path) -> Path:
    """Return the folder of a bundle given by path or by the name of one that ships with the package.

    Raises:
        BundleError: There is neither; the message lists the shipped ones.
    """
    path = Path(name_or_path).expanduser()
    for candidate in (path, BUNDLED / path):
        if candidate.is_dir():
            return candidate
    shipped = sorted(p.name for p in BUNDLED.glob("*/")) if BUNDLED.is_dir() else []
    raise BundleError(f"no bundle at '{name_or_path}'; give a bundle folder or one of {shipped}")


def write_bundle(folder: Path, *, onnx: bytes, manifest: Manifest, golden: Golden) -> str:
    """Write a bundle beside its place, then move it there: no reader ever sees half of one.

    Returns:
        The hash of the new bundle.

    Raises:
        OutputError: As `check_bundle_place`, or the folder cannot be written.
    """
    with writing_folder(Path(folder), _WHAT, is_only_a_bundle) as staging:
        (staging / "policy.onnx").write_bytes(onnx)
        (staging / "manifest.yaml").write_text(_dump({"format_version": FORMAT_VERSION, **_plain(asdict(manifest))}))
        inputs: dict[str, Any] = {f"input_{key}": value for key, value in golden.inputs.items()}
        np.savez(staging / "golden.npz", actions=golden.actions, **inputs)
        sums = {name: _sha256(staging / name) for name in _FILES}
        (staging / _CHECKSUMS).write_text(_dump(sums))
    return _bundle_hash(sums)


def check_bundle_place(folder: Path) -> None:
    """Raise OutputError where a bundle may not be written: at a file, or a folder that holds anything but a bundle."""
    check_folder(Path(folder), _WHAT, is_only_a_bundle)


def is_only_a_bundle(folder: Path) -> bool:
    """Whether a folder holds a bundle, damaged perhaps, and nothing beside it."""
    names = {path.name for path in folder.iterdir()}
    if not {"manifest.yaml", _CHECKSUMS} <= names <= {*_FILES, _CHECKSUMS}:
        return False
    try:
        return "format_version" in _mapping(folder / "manifest.yaml")
    except BundleError:
        return False


def load_bundle(folder: str | Path) -> Bundle:
    """Read a bundle and verify format and checksums.

    Args:
        folder: Path of the bundle, or the name of one that ships with the package.

    Raises:
        BundleError: Something is missing, damaged or of a foreign format; the message names the file.
    """
    path = find_bundle(folder)
    missing = [name for name in (*_FILES, _CHECKSUMS) if not (path / name).is_file()]
    if missing:
        raise BundleError(f"bundle {path.name} misses {', '.join(missing)}; export it again")
    sums = _mapping(path / _CHECKSUMS)
    for name in _FILES:
        try:
            digest = _sha256(path / name)
        except OSError as error:
            raise BundleError(f"cannot read {name} of bundle {path.name}: {error.strerror}") from error
        if sums.get(name) != digest:
            raise BundleError(f"checksum mismatch in bundle {path.name}: {name} is damaged; export or copy it again")
    return Bundle(
        folder=path,
        manifest=_manifest_from(_mapping(path / "manifest.yaml"), path.name),
        onnx_path=path / "policy.onnx",
        golden=_golden_from(path / "golden.npz"),
        hash=_bundle_hash(sums),
    )


def _manifest_from(raw: dict[str, Any], name: str) -> Manifest:
    version = raw.pop("format_version", None)
    if version != FORMAT_VERSION:
        raise BundleError(f"bundle {name} has format {version}, this program reads {FORMAT_VERSION}")
    unknown = set(raw) - {f.name for f in fields(Manifest)}
    if unknown:
        raise BundleError(f"manifest of bundle {name} has unknown keys {sorted(unknown)}")
    try:
        raw["observations"] = tuple(
            ObservationSpec(**{**spec, "shape": tuple(spec["shape"])}) for spec in raw["observations"]
        )
        action = raw["action"]
        if "coupling" in action:
            action["coupling"] = tuple(float(x) for x in action["coupling"])
        raw["action"] = ActionSpec(**action)
        for key in ("T_world_base", "T_ee_site"):
            if key in raw:
                raw[key] = tuple(float(x) for x in raw[key])
        return Manifest(**raw)
    except (TypeError, KeyError, ValueError) as error:
        raise BundleError(f"manifest of bundle {name} is incomplete: {error}") from error


def _golden_from(path: Path) -> Golden:
    with np.load(path, allow_pickle=False) as data:
        inputs = {key.removeprefix("input_"): data[key] for key in data.files if key.startswith("input_")}
        return Golden(inputs=inputs, actions=data["actions"])


def _mapping(path: Path) -> dict[str, Any]:
    try:
        raw = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BundleError(f"cannot read {path.name} of bundle {path.parent.name}: {error}") from error
    if not isinstance(raw, dict):
        raise BundleError(f"{path.name} of bundle {path.parent.name} must be a mapping")
    return raw


def _dump(data: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(data), sort_keys=False, default_flow_style=None, allow_unicode=True, width=110)


def _plain(value: Any) -> Any:
    """Turn tuples and mappings into what YAML has."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _bundle_hash(sums: Mapping[str, str]) -> str:
    return hashlib.sha256("".join(sums[name] for name in _FILES).encode()).hexdigest()[:16]
