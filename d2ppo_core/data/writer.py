"""Writing demonstrations to a file that is ours."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from d2ppo_core.closing import Closing
from d2ppo_core.data import hdf5
from d2ppo_core.data.episode import Episode
from d2ppo_core.errors import DataError

_CHUNK_OVERHEAD_BYTES = 256
"""Index entry of a picture, and what gzip adds where it cannot compress."""
_SPARE_BYTES = 2**18
"""Groups, attributes and alignment of one demonstration."""


class EpisodeWriter(Closing):
    """Appends demonstrations to a file; after each one the file on disk is complete and readable."""

    path: Path

    def __init__(self, path: Path, *, env_args: Mapping[str, Any], recording: Mapping[str, Any] | None = None) -> None:
        """Create the file, or continue one that was written with the same `env_args` and `recording`.

        Args:
            path: the HDF5 file; its folder is created.
            env_args: robomimic's description of the environment (`env_name`, `env_version`, `type`, `env_kwargs`).
            recording: how the demonstrations are made; a file made otherwise is refused.

        Raises:
            DataError: the file exists and is damaged, not ours, or was recorded with other settings.
        """
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{path.parent} cannot be made: {error.strerror}; choose another file") from error
        _check_ours(path)
        self._file = hdf5.open_file(path, "a")
        try:
            self._data = self._file.require_group("data")
            self._agree("env_args", dict(env_args))
            self._agree(hdf5.RECORDING, dict(recording or {}))
            self._drop_unfinished()
        except BaseException:
            self._file.close()
            raise

    def __len__(self) -> int:
        """Number of demonstrations in the file."""
        return len(self._numbers())

    @property
    def last_attributes(self) -> Mapping[str, Any]:
        """Provenance of the demonstration written last; empty if there is none."""
        if not len(self):
            return {}
        attributes = hdf5.attributes(self.path, self._data[f"demo_{max(self._numbers())}"])
        return {key: value for key, value in attributes.items() if key not in ("num_samples", "model_file")}

    def append(self, episode: Episode) -> str:
        """Write one demonstration to disk and return its name.

        Raises:
            DataError: there is no room for it, or writing failed; the demonstrations before it are safe.
        """
        count = len(self)
        name = f"demo_{max(self._numbers(), default=-1) + 1}"  # one that was deleted leaves a gap
        try:
            self._reserve(_size_bytes(episode))
            self._write(name, episode)
            self._file.flush()
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise DataError(
                f"{self.path}: cannot write {name}, which wants up to {_size_bytes(episode) / 2**20:.1f} MiB "
                f"({reason}); the {count} demonstrations before it are safe"
            ) from error
        except (RuntimeError, TypeError, ValueError) as error:  # what HDF5 has no type or no room for
            reason = " ".join(str(error).split())
            raise DataError(f"{self.path}: cannot write {name} ({reason})") from error
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

    def _agree(self, name: str, wanted: dict[str, Any]) -> None:
        """Store a setting in a new file, compare it in an old one."""
        if name not in self._data.attrs:
            self._data.attrs[name] = json.dumps(wanted, indent=4)
            return
        found = hdf5.json_attribute(self.path, self._data, name)
        wanted = json.loads(json.dumps(wanted))
        if found != wanted:
            keys = sorted(key for key in found.keys() | wanted.keys() if found.get(key) != wanted.get(key))
            differences = ", ".join(f"{key} {found.get(key)!r} not {wanted.get(key)!r}" for key in keys)
            raise DataError(f"{self.path} was recorded with another {name}: {differences}; choose another file")

    def _numbers(self) -> list[int]:
        """Of the demonstrations in the file; whatever else somebody put beside them does not count."""
        found = (hdf5.demo_number(name) for name in hdf5.names(self.path, self._data))
        return [number for number in found if number is not None]

    def _drop_unfinished(self) -> None:
        """Delete what a killed writer left half-written, and count the rest anew."""
        total = 0
        for number in self._numbers():
            name = f"demo_{number}"
            with hdf5.reading(self.path, name):
                if "num_samples" in self._data[name].attrs:
                    total += int(self._data[name].attrs["num_samples"])
                else:
                    del self._data[name]
        self._data.attrs["total"] = total


def _check_ours(path: Path) -> None:
    """Raise DataError where a file is there that somebody else wrote: only ours are continued."""
    if not path.exists():
        return
    with hdf5.open_file(path, "r") as file:
        if not hdf5.is_ours(path, file):
            raise DataError(
                f"{path} was not recorded by this program (its group 'data' has no attribute {hdf5.RECORDING!r}) and "
                "is never written to; choose another file"
            )


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
