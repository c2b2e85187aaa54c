"""What a recorder keeps of a message: its bytes as they came, and the two times by which it is found again."""

from __future__ import annotations

import struct
from dataclasses import dataclass

_STAMP = {0: struct.Struct(">iI"), 1: struct.Struct("<iI")}
_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Channel:
    """Where messages come from."""

    topic: str
    datatype: str


@dataclass(frozen=True, slots=True)
class RawMessage:
    """One message, serialised as it came (CDR)."""

    channel: Channel
    data: bytes
    received_ns: int
    """On the stack's clock."""
    stamp_ns: int
    """Of its header; `received_ns` where it has none."""


def header_stamp_ns(data: bytes) -> int:
    """Stamp of a serialised message whose first field is a header: it lies behind the four bytes of CDR's own."""
    sec, nanosec = _STAMP[data[1] & 1].unpack_from(data, 4)
    return int(sec) * _NS + int(nanosec)
