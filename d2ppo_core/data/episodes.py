"""Demonstrations on disk, in robomimic's HDF5 layout.

One file holds a group `data` (attributes `total`, `env_args`) with one group per demonstration, `demo_0`, `demo_1`, …
(attributes `num_samples`, `model_file`), each of which holds `actions`, `states`, `rewards`, `dones`, `obs/<key>` and
`next_obs/<key>`; and perhaps a group `mask` of named subsets. `actions` are what the controller was given, so that
playing them back repeats the episode. What this module adds, robomimic ignores: `expert_actions`, what a disturbed
demonstrator meant to do, and the attributes `seed` and `attempt` of a demonstration and `recording` of the file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from d2ppo_core.errors import DataError

_CHUNK_OVERHEAD_BYTES = 256
"""Index entry of a picture, and what gzip adds where it cannot compress."""
_SPARE_BYTES = 2**18
"""Groups, attributes and alignment of one demonstration."""

Observations = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Episode:
    """One demonstration of T control steps."""

    actions: NDArray[np.float64]
    """(T, Da) what the controller was given: played back from the first state, they repeat the episode."""
    rewards: NDArray[np.float64]
    """(T,) 1 where the task is solved after the step."""
    dones: NDArray[np.int64]
    """(T,) 1 where the task is solved after the step (robomimic's convention)."""
    states: NDArray[np.float64]
    """(T, Ds) the simulator's flattened state before each step."""
    observations: Observations
    """Before each step: name -> (T, ...), float64, or uint8 for images (T, H, W, 3)."""
    next_observations: Observations = field(default_factory=dict)
    """After each step, same layout; images may be missing."""
    expert_actions: NDArray[np.float64] | None = None
    """(T, Da) what the demonstrator meant to do, without the disturbance that spreads the states; None if equal."""
    model_xml: str = ""
    """The simulator's model in which the states live."""
    attributes: Mapping[str, int | float | str] = field(default_factory=dict)
    """Provenance, e.g. the seed."""

    def __post_init__(self) -> None:
        arrays: dict[str, NDArray[Any]] = {
            "rewards": self.rewards,
            "dones": self.dones,
            "states": self.states,
            **{f"obs/{key}": value for key, value in self.observations.items()},
            **{f"next_obs/{key}": value for key, value in self.next_observations.items()},
        }
        if self.expert_actions is not None:
            arrays["expert_actions"] = self.expert_actions
        for name, array in arrays.items():
            if len(array) != len(self):
                raise DataError(f"{name} must have {len(self)} steps like the actions, got {len(array)}")

    def __len__(self) -> int:
        """Number of control steps T."""
        return len(self.actions)

    @property
    def labels(self) -> NDArray[np.float64]:
        """(T, Da) what a policy should learn: the demonstrator's intention where it was recorded, else the actions."""
        return self.actions if self.expert_actions is None else self.expert_actions


class EpisodeWriter:
    """Appends demonstrations to a file; after each one the file on disk is complete and readable."""

    path: Path

    def __init__(self, path: Path, *, env_args: Mapping[str, Any], recording: Mapping[str, Any] | None = None) -> None:
        """Create the file, or continue one that was written with the same `env_args` and `recording`.

        Args:
            path: the HDF5 file; its folder is created.
            env_args: robomimic's description of the environment (`env_name`, `env_version`, `type`, `env_kwargs`).
            recording: how the demonstrations are made; a file made otherwise is refused.

        Raises:
            DataError: the file exists and is damaged, or was recorded with other settings.
        """
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = _open(path, "a")
        try:
            self._data = self._file.require_group("data")
            self._agree("env_args", dict(env_args))
            self._agree("recording", dict(recording or {}))
            self._drop_unfinished()
        except BaseException:
            self._file.close()
            raise

    def __len__(self) -> int:
        """Number of demonstrations in the file."""
        return len(self._data)

    @property
    def last_attributes(self) -> Mapping[str, Any]:
        """Provenance of the demonstration written last; empty if there is none."""
        if not len(self):
            return {}
        attributes = self._data[f"demo_{len(self) - 1}"].attrs
        return {key: value for key, value in attributes.items() if key not in ("num_samples", "model_file")}

    def append(self, episode: Episode) -> str:
        """Write one demonstration to disk and return its name.

        Raises:
            DataError: there is no room for it, or writing failed; the demonstrations before it are safe.
        """
        name = f"demo_{len(self)}"
        try:
            self._reserve(_size_bytes(episode))
            self._write(name, episode)
            self._file.flush()
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise DataError(
                f"{self.path}: cannot write {name}, which wants up to {_size_bytes(episode) / 2**20:.1f} MiB "
                f"({reason}); the {name.removeprefix('demo_')} demonstrations before it are safe"
            ) from error
        os.truncate(self.path, self._file.id.get_filesize())  # gives back what was reserved too much
        return name

    def _reserve(self, size_bytes: int) -> None:
        """Claim room behind the end of the file: HDF5 itself would notice a full disk half-way, and lose the file."""
        with self.path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), self._file.id.get_filesize(), size_bytes)

    def _write(self, name: str, episode: Episode) -> None:
        group = self._data.create_group(name)
        for key in ("actions", "rewards", "dones", "states", "expert_actions"):
            if getattr(episode, key) is not None:
                group[key] = getattr(episode, key)
        for folder, observations in (("obs", episode.observations), ("next_obs", episode.next_observations)):
            for key, values in observations.items():
                compression = {"compression": "gzip", "chunks": (1, *values.shape[1:])} if _is_image(values) else {}
                group.create_dataset(f"{folder}/{key}", data=values, **compression)
        group.attrs.update(episode.attributes)
        group.attrs["model_file"] = episode.model_xml
        group.attrs["num_samples"] = len(episode)  # last: marks the demonstration as complete
        self._data.attrs["total"] = int(self._data.attrs.get("total", 0)) + len(episode)

    def write_filter(self, key: str, names: Sequence[str]) -> None:
        """Name a subset, robomimic's `mask`; one of the same name is replaced."""
        masks = self._file.require_group("mask")
        if key in masks:
            del masks[key]
        masks[key] = np.array(names, dtype="S")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _agree(self, name: str, wanted: dict[str, Any]) -> None:
        """Store a setting in a new file, compare it in an old one."""
        if name not in self._data.attrs:
            self._data.attrs[name] = json.dumps(wanted, indent=4)
            return
        found = json.loads(self._data.attrs[name])
        wanted = json.loads(json.dumps(wanted))
        if found != wanted:
            keys = sorted(key for key in found.keys() | wanted.keys() if found.get(key) != wanted.get(key))
            differences = ", ".join(f"{key} {found.get(key)!r} not {wanted.get(key)!r}" for key in keys)
            raise DataError(f"{self.path} was recorded with another {name}: {differences}; choose another file")

    def _drop_unfinished(self) -> None:
        """Delete what a killed writer left half-written, and count the rest anew."""
        for name in list(self._data):
            if "num_samples" not in self._data[name].attrs:
                del self._data[name]
        self._data.attrs["total"] = sum(int(demo.attrs["num_samples"]) for demo in self._data.values())


class EpisodeReader:
    """Reads demonstrations from a file, ours or robomimic's."""

    path: Path
    env_args: Mapping[str, Any]
    """robomimic's description of the environment."""
    names: tuple[str, ...]
    """Demonstrations in the order of their numbers."""
    filters: Mapping[str, tuple[str, ...]]
    """Named subsets of them, robomimic's `mask`."""

    def __init__(self, path: Path, *, env_name: str | None = None, filter_key: str | None = None) -> None:
        """Open the file.

        Args:
            path: the HDF5 file.
            env_name: robosuite's name of the task that the file must hold; None accepts any.
            filter_key: read only this subset, e.g. `train` or `20_percent`.

        Raises:
            DataError: missing, damaged or empty file, or one of another task, or without this subset.
        """
        self.path = path
        if not path.is_file():
            raise DataError(f"there is no dataset {path}; record one with: d2ppo demos lift --out {path}")
        self._file = _open(path, "r")
        try:
            self._data = self._member(self._file, "data")
            self.env_args = self._read_env_args(env_name)
            self.names = tuple(sorted(self._data, key=_demo_number))
            if not self.names:
                raise DataError(f"{path} holds no demonstrations")
            self.filters = self._read_filters()
            if filter_key is not None:
                self.names = self._subset(filter_key)
        except BaseException:
            self._file.close()
            raise

    def __len__(self) -> int:
        """Number of demonstrations."""
        return len(self.names)

    def read(self, name: str, *, keys: Sequence[str] | None = None, next_observations: bool = False) -> Episode:
        """One demonstration.

        Args:
            name: one of `names`.
            keys: observations to read; None reads all.
            next_observations: also read the observations after each step.

        Raises:
            DataError: something is missing or damaged.
        """
        demo = self._member(self._data, name)
        attributes = {key: value for key, value in demo.attrs.items() if key != "model_file"}
        if "num_samples" not in attributes:
            raise DataError(f"{self.path}: {name} is unfinished; record again into the same file to repair it")
        num_samples = int(attributes.pop("num_samples"))
        actions, expert_actions = self._both_actions(demo)
        arrays = {key: self._optional(demo, key, num_samples) for key in ("rewards", "dones", "states")}
        episode = Episode(
            actions=actions,
            expert_actions=expert_actions,
            **arrays,
            observations=self._observations(demo, "obs", keys),
            next_observations=self._observations(demo, "next_obs", keys) if next_observations else {},
            model_xml=_text(demo.attrs.get("model_file", "")),
            attributes=attributes,
        )
        if len(episode) != num_samples:
            raise DataError(f"{self.path}: {name} must have {num_samples} steps, got {len(episode)}")
        return episode

    @property
    def recording(self) -> Mapping[str, Any]:
        """How the demonstrations were made; empty in files that are not ours."""
        recording: dict[str, Any] = json.loads(self._data.attrs.get("recording", "{}"))
        return recording

    def position(self, name: str) -> int:
        """Index of a demonstration in `names`. Raises DataError where there is none of this name."""
        if name not in self.names:
            raise DataError(f"{self.path} has no {name!r}; it holds {self.names[0]} … {self.names[-1]}")
        return self.names.index(name)

    def has_observations(self, name: str) -> bool:
        """Whether a demonstration holds any; raw recordings of robomimic do not."""
        return "obs" in self._member(self._data, name)

    def has_next_observations(self, name: str) -> bool:
        """Whether a demonstration holds the observations after each step too."""
        return "next_obs" in self._member(self._data, name)

    def episodes(self, *, keys: Sequence[str] | None = None) -> Iterator[Episode]:
        """All demonstrations, one at a time. Raises as `read` does."""
        for name in self.names:
            yield self.read(name, keys=keys)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read_env_args(self, env_name: str | None) -> Mapping[str, Any]:
        try:
            env_args: dict[str, Any] = json.loads(self._data.attrs["env_args"])
        except (KeyError, ValueError) as error:
            raise DataError(f"{self.path} does not say which environment it is from (attribute env_args)") from error
        if env_name is not None and env_args.get("env_name") != env_name:
            raise DataError(f"{self.path} must hold {env_name} demonstrations, got {env_args.get('env_name')}")
        return env_args

    def _read_filters(self) -> dict[str, tuple[str, ...]]:
        masks = self._file.get("mask", {})
        return {key: tuple(_text(name) for name in self._array(masks, key)) for key in masks}

    def _subset(self, filter_key: str) -> tuple[str, ...]:
        if filter_key not in self.filters:
            known = ", ".join(self.filters) or "none"
            raise DataError(f"{self.path} has no subset {filter_key!r}; its filter keys are {known}")
        wanted = set(self.filters[filter_key])
        if missing := sorted(wanted - set(self.names), key=_demo_number):
            raise DataError(f"{self.path}: subset {filter_key!r} names {', '.join(missing)}, which the file lacks")
        return tuple(name for name in self.names if name in wanted)

    def _both_actions(self, demo: Any) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        """What the controller got and what was meant; early files of ours kept the latter under `actions`."""
        actions = self._array(demo, "actions")
        if "executed_actions" in demo:
            return self._array(demo, "executed_actions"), actions
        return actions, self._array(demo, "expert_actions") if "expert_actions" in demo else None

    def _optional(self, demo: Any, key: str, num_samples: int) -> NDArray[Any]:
        """Raw robomimic files hold no rewards and no dones."""
        if key in demo:
            return self._array(demo, key)
        return np.zeros((num_samples, 0) if key == "states" else num_samples)

    def _observations(self, demo: Any, folder: str, keys: Sequence[str] | None) -> dict[str, NDArray[Any]]:
        if not keys and keys is not None:
            return {}
        if folder not in demo:
            hint = "; compute them with robomimic's dataset_states_to_obs.py" if folder == "obs" else ""
            raise DataError(f"{self.path}: {demo.name} has no {folder!r}, only {', '.join(demo)}{hint}")
        group = demo[folder]
        return {key: self._array(group, key) for key in (list(group) if keys is None else keys)}

    def _array(self, group: Any, key: str) -> NDArray[Any]:
        try:
            return np.asarray(self._member(group, key)[()])
        except (OSError, RuntimeError) as error:
            raise DataError(f"{self.path}: cannot read {group.name}/{key}, the file is damaged ({error})") from error

    def _member(self, group: Any, key: str) -> Any:
        if key not in group:
            raise DataError(f"{self.path}: {group.name} has no {key!r}, only {', '.join(group) or 'nothing'}")
        return group[key]


def _open(path: Path, mode: str) -> Any:
    try:
        return h5py.File(path, mode)
    except OSError as error:
        raise DataError(f"{path} is not a readable HDF5 file: truncated, foreign or in use ({error})") from error


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _size_bytes(episode: Episode) -> int:
    """The most that a demonstration takes on disk."""
    arrays = [episode.actions, episode.rewards, episode.dones, episode.states]
    arrays += [*episode.observations.values(), *episode.next_observations.values()]
    if episode.expert_actions is not None:
        arrays.append(episode.expert_actions)
    overhead = sum(_CHUNK_OVERHEAD_BYTES * len(array) for array in arrays if _is_image(array))
    return int(sum(array.nbytes for array in arrays) + overhead + len(episode.model_xml.encode()) + _SPARE_BYTES)


def _is_image(values: NDArray[Any]) -> bool:
    return values.dtype == np.uint8 and values.ndim == 4


def _demo_number(name: str) -> tuple[int, str]:
    digits = name.rpartition("_")[2]
    return (int(digits) if digits.isdigit() else -1, name)
