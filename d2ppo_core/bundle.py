"""The policy bundle: a folder that holds everything a robot needs to run a policy, and nothing executable.

``policy.onnx`` is the whole policy as one graph, ``manifest.yaml`` the contract around it, ``golden.npz`` an example
of what it must answer, ``checksums.yaml`` the SHA-256 of each. There is no pickle anywhere.
"""

import hashlib
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from d2ppo_core.errors import BundleError
from d2ppo_core.manifest import ActionSpec, Manifest, ObservationSpec, manifest_from
from d2ppo_core.output import check_folder, writing_folder

__all__ = [
    "ActionSpec",
    "Bundle",
    "Golden",
    "Manifest",
    "ObservationSpec",
    "check_bundle_place",
    "find_bundle",
    "is_only_a_bundle",
    "load_bundle",
    "write_bundle",
]

FORMAT_VERSION = 1
BUNDLED = Path(__file__).parent / "bundles"
"""Folder of the bundles that ship with the package."""

_FILES = ("policy.onnx", "manifest.yaml", "golden.npz")
_CHECKSUMS = "checksums.yaml"
_MB = 1_000_000
_LARGEST = {"policy.onnx": 2000 * _MB, "manifest.yaml": _MB // 10, "golden.npz": 200 * _MB, _CHECKSUMS: _MB // 100}
"""Bytes; whoever loads a bundle while an arm runs must not be kept waiting by a file that is something else."""
_WHAT = "bundle"


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
    shipped = sorted(p.name for p in BUNDLED.glob("*/")) if BUNDLED.is_dir() else []
    try:
        path = Path(name_or_path).expanduser()
        for candidate in (path, BUNDLED / path):
            if candidate.is_dir():
                return candidate
    except (OSError, RuntimeError, ValueError) as error:  # no permission, too long, no such user, a NUL
        raise BundleError(f"no bundle at {str(name_or_path)[:200]!r}: {error}") from error
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
        (staging / "manifest.yaml").write_text(
            _dump({"format_version": FORMAT_VERSION, **_plain(asdict(manifest))}), encoding="utf-8"
        )
        inputs: dict[str, Any] = {f"input_{key}": value for key, value in golden.inputs.items()}
        np.savez(staging / "golden.npz", actions=golden.actions, **inputs)
        sums = {name: _sha256(staging / name) for name in _FILES}
        (staging / _CHECKSUMS).write_text(_dump(sums), encoding="utf-8")
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
    _refuse_unreadable(path)
    sums = _mapping(path / _CHECKSUMS)
    for name in _FILES:
        try:
            digest = _sha256(path / name)
        except OSError as error:
            raise BundleError(f"cannot read {name} of bundle {path.name}: {error.strerror}") from error
        if sums.get(name) != digest:
            raise BundleError(f"checksum mismatch in bundle {path.name}: {name} is damaged; export or copy it again")
    raw = _mapping(path / "manifest.yaml")
    version = raw.pop("format_version", None)
    if version != FORMAT_VERSION:
        raise BundleError(f"bundle {path.name} has format {str(version)[:20]}, this program reads {FORMAT_VERSION}")
    manifest = manifest_from(raw, f"manifest of bundle {path.name}")
    return Bundle(path, manifest, path / "policy.onnx", _golden_from(path / "golden.npz"), _bundle_hash(sums))


def _refuse_unreadable(path: Path) -> None:
    """Raise BundleError when a file is missing, no file, or larger than one of a bundle can be."""
    try:
        missing = [name for name in _LARGEST if not (path / name).is_file()]
        if missing:
            raise BundleError(f"bundle {path.name} misses {', '.join(missing)}; export it again")
        for name, largest in _LARGEST.items():
            size = (path / name).stat().st_size
            if size > largest:
                raise BundleError(f"bundle {path.name}: {name} has {size / _MB:.1f} MB, allowed {largest / _MB:g}")
    except OSError as error:
        raise BundleError(f"cannot read bundle {path.name}: {error.strerror}") from error


def _golden_from(path: Path) -> Golden:
    try:
        # Sizes are checked first: a small file can unpack to anything.
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > _LARGEST[path.name]:
            raise BundleError(f"golden.npz of bundle {path.parent.name} unpacks to {unpacked / _MB:.0f} MB")
        with np.load(path, allow_pickle=False) as data:
            arrays = {key: data[key] for key in data.files}
    except BundleError:
        raise
    except Exception as error:  # numpy and zipfile raise a dozen unrelated types
        words = " ".join(str(error).split())[:200]
        raise BundleError(f"cannot read golden.npz of bundle {path.parent.name}: {words}") from error
    if "actions" not in arrays:
        raise BundleError(f"golden.npz of bundle {path.parent.name} misses actions")
    inputs = {key.removeprefix("input_"): array for key, array in arrays.items() if key.startswith("input_")}
    return Golden(inputs, arrays["actions"])


class _PlainLoader(yaml.SafeLoader):
    """Reads YAML without aliases: a few lines of them expand to more than fits into any machine."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not allowed")
        return super().compose_node(parent, index)


def _mapping(path: Path) -> dict[str, Any]:
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), _PlainLoader)
    except Exception as error:  # beside its own, yaml raises whatever a date, a number or a deep nesting leads to
        words = " ".join(str(error).split())[:200]
        raise BundleError(f"cannot read {path.name} of bundle {path.parent.name}: {words}") from error
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
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _bundle_hash(sums: Mapping[str, str]) -> str:
    return hashlib.sha256("".join(sums[name] for name in _FILES).encode()).hexdigest()[:16]
