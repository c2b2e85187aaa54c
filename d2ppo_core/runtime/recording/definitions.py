"""Text of ROS 2's message definitions, as MCAP wants it: a reader needs neither ROS nor the package of the message."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from d2ppo_core.errors import RecordingError

_PRIMITIVES = frozenset(
    ("bool", "byte", "char", "float32", "float64", "string", "wstring")
    + tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))
)
_FIELD = re.compile(r"^\s*([A-Za-z][\w/]*)(?:<=\d+)?(?:\[[^\]]*\])?\s+[A-Za-z]\w*\s*(?!=)(?:[^=\s].*)?$")
_RULE = "=" * 80


@cache
def definition(datatype: str) -> str:
    """Return the definition of a message and of all that it is made of, in MCAP's encoding `ros2msg`.

    Args:
        datatype: Such as `sensor_msgs/msg/Image`.

    Raises:
        RecordingError: The package of a message is not installed here.
    """
    found: dict[str, str] = {}
    _collect(datatype, found)
    head, *others = found.items()
    parts = [head[1], *(f"{_RULE}\nMSG: {_short(name)}\n{text}" for name, text in others)]
    return "\n".join(parts)


def starts_with_header(datatype: str) -> bool:
    """Whether the first field of a message is a `std_msgs/Header`, so that its stamp is found without decoding it."""
    return next(iter(_fields(datatype, definition(datatype).split(_RULE)[0])), "") == "std_msgs/msg/Header"


def _collect(datatype: str, found: dict[str, str]) -> None:
    found[datatype] = text = _read(datatype)
    for part in _fields(datatype, text):
        if part not in found:
            _collect(part, found)


def _fields(datatype: str, text: str) -> Iterator[str]:
    """Types of the fields in their order, those that are messages with their full name, others as they are."""
    package = datatype.partition("/")[0]
    for line in text.splitlines():
        match = _FIELD.match(line.partition("#")[0])
        if match and match[1] not in _PRIMITIVES:
            owner, _, name = match[1].rpartition("/")
            yield f"{(owner or package).removesuffix('/msg')}/msg/{name}"


def _read(datatype: str) -> str:
    package, _, name = datatype.split("/")
    prefixes = [*filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)), sys.prefix]
    for prefix in prefixes:
        path = Path(prefix, "share", package, "msg", f"{name}.msg")
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise RecordingError(
        f"the definition of {datatype} is not in {', '.join(prefixes)}: is package {package} installed?"
    )


def _short(datatype: str) -> str:
    package, _, name = datatype.split("/")
    return f"{package}/{name}"
