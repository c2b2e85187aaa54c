"""HDF5 as files really are: whatever is in one, what cannot be read is a DataError with file, place and reason."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from d2ppo_core.errors import DataError

RECORDING = "recording"
"""Attribute of the group `data` by which a file is known to be ours."""
_DEMO = re.compile(r"demo_([0-9]{1,18})")
_LARGEST_RATIO = 10_000
"""An array that claims to be so many times as large as its file is damaged; deflate reaches 1032."""
_SLACK_BYTES = 2**26
_REASON_CHARS = 160


@contextmanager
def reading(path: Path, place: str) -> Iterator[None]:
    """Turn whatever h5py raises while `place` is read into a DataError."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # a damaged file surfaces as nearly any of them
        reason = " ".join(clean(str(error)).split())[:_REASON_CHARS] or type(error).__name__
        raise DataError(f"{path}: cannot read {place}, the file is damaged ({reason})") from error


def open_file(path: Path, mode: str) -> Any:
    """Open a file. Raises DataError where that is not possible."""
    try:
        return h5py.File(path, mode)
    except Exception as error:
        reason = " ".join(clean(str(error)).split())[:_REASON_CHARS]
        raise DataError(f"{path} is not a readable HDF5 file: truncated, foreign or in use ({reason})") from error


def names(path: Path, group: Any) -> list[str]:
    """Names of a group's members, in order; those that are no text are left out."""
    with reading(path, _name(group)):
        return [name for name in group if isinstance(name, str)]


def has(path: Path, group: Any, key: str) -> bool:
    """Whether a group holds something of this name; a link to nowhere is nothing."""
    with reading(path, f"{_name(group)}/{key}"):
        return key in group


def member(path: Path, group: Any, key: str, hint: str = "") -> Any:
    """A group or an array by its name. Raises DataError where there is none, naming those that are there."""
    place = f"{_name(group)}/{key}".replace("//", "/")
    with reading(path, place):
        try:
            return group[key]
        except KeyError:
            if key in group:  # there, but unreadable
                raise
    known = ", ".join(clean(name) for name in names(path, group)) or "nothing"
    raise DataError(f"{path}: {_name(group)} has no {key!r}, only {known}{hint}")


def subgroup(path: Path, group: Any, key: str, hint: str = "") -> Any:
    """A group by its name. Raises DataError where there is none, or something else of that name."""
    found = member(path, group, key, hint)
    if not isinstance(found, h5py.Group):
        raise DataError(f"{path}: {_name(group)} has {key!r}, but as {_kind(found)}; wanted a group{hint}")
    return found


def array(path: Path, group: Any, key: str, *, steps: int | None = None, text: bool = False) -> NDArray[Any]:
    """An array by its name, (T, ...).

    Args:
        path: Of the file, for messages.
        group: What holds it.
        key: Its name.
        steps: T that it must have; None takes any.
        text: Whether words are welcome beside numbers; they are returned as bytes of one length.

    Raises:
        DataError: It is missing, of another kind or length, or cannot be read.
    """
    found = member(path, group, key)
    place = f"{_name(group)}/{key}".replace("//", "/")
    if not isinstance(found, h5py.Dataset):
        raise DataError(f"{path}: {place} is {_kind(found)}; wanted an array")
    with reading(path, place):
        kind, shape = found.dtype.kind, found.shape
        words = kind in "OS" and h5py.check_string_dtype(found.dtype) is not None
        if not (kind in "biuf" or text and words):
            raise DataError(f"{path}: {place} holds {_words(found.dtype, words)}; wanted numbers")
        if not shape:
            raise DataError(f"{path}: {place} holds {'nothing' if shape is None else 'one value'}; wanted an array")
        if steps is not None and shape[0] != steps:
            raise DataError(f"{path}: {place} must have {steps} steps, got {shape[0]}")
        size_bytes = found.dtype.itemsize * math.prod(shape)
        if size_bytes > _SLACK_BYTES and size_bytes > _LARGEST_RATIO * path.stat().st_size:
            raise DataError(f"{path}: cannot read {place}, the file is damaged (it claims a size of {shape})")
        values = np.asarray(found[()])
        return np.asarray(values, dtype="S") if words else values


def attribute(path: Path, holder: Any, key: str, default: Any = None) -> Any:
    """An attribute by its name, or `default`."""
    with reading(path, f"attribute {key} of {_name(holder)}"):
        return holder.attrs[key] if key in holder.attrs else default


def attributes(path: Path, holder: Any) -> dict[str, Any]:
    """All attributes."""
    with reading(path, f"the attributes of {_name(holder)}"):
        return {str(key): value for key, value in holder.attrs.items()}


def json_attribute(path: Path, holder: Any, key: str) -> Mapping[str, Any]:
    """An attribute that holds a JSON object. Raises DataError where it does not."""
    value = as_text(attribute(path, holder, key))
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        shown = value if len(value) <= 40 else f"{value[:40]}…"
        raise DataError(f"{path}: attribute {key} of {_name(holder)} must be a JSON object, got {shown!r}")
    return found


def is_ours(path: Path, file: Any) -> bool:
    """Whether a file was written by this package."""
    with reading(path, "/data"):
        data = file.get("data")
        return isinstance(data, h5py.Group) and RECORDING in data.attrs


def demo_number(name: str) -> int | None:
    """Number of a demonstration's group, `demo_<number>`; None where the name is another."""
    match = _DEMO.fullmatch(name)
    return int(match[1]) if match else None


def as_text(value: Any) -> str:
    """A string, however it is stored; bytes that are no UTF-8 are replaced."""
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(-1)[0]
    return value.decode(errors="replace") if isinstance(value, bytes) else clean(str(value))


def clean(text: str) -> str:
    """A string that can be printed and encoded: h5py hides bytes that are no UTF-8 in half characters."""
    return text.encode("utf-8", "replace").decode()


def _name(holder: Any) -> str:
    return clean(str(holder.name))


def _kind(found: Any) -> str:
    kinds = ((h5py.Group, "a group"), (h5py.Dataset, "an array"), (h5py.Datatype, "a data type"))
    return next((word for kind, word in kinds if isinstance(found, kind)), "something else")


def _words(dtype: Any, words: bool) -> str:
    return "words" if words else f"values of type {dtype}"
