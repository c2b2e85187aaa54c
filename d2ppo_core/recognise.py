"""What a file that is there already is, by what stands in it: only our own kind is written over."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

PAGE_MARK = '<meta name="generator" content="d2ppo">'
"""In the head of every page of ours."""

_CONTAINERS = ((4, b"ftyp"), (0, b"\x1a\x45\xdf\xa3"), (0, b"RIFF"))
"""Where films have what: MP4 and MOV, Matroska, AVI."""
_EARLY_PAGE = "body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 62rem;"
"""In pages from before the mark."""
_LOG_LINE = re.compile(rb" *\d+\.\d{3} \[[^\]]+\] ")


def is_film(path: Path) -> bool:
    """Whether a file begins as films do."""
    head = _head(path, 16)
    return any(head[place:].startswith(mark) for place, mark in _CONTAINERS)


def is_page(path: Path) -> bool:
    """Whether a file is a page that we wrote."""
    head = _head(path, 2048).decode(errors="replace")
    return PAGE_MARK in head or _EARLY_PAGE in head


def is_log(path: Path) -> bool:
    """Whether a file begins as the log of a stack does."""
    return _LOG_LINE.match(_head(path, 200)) is not None


def is_record(*keys: str) -> Callable[[Path], bool]:
    """What tells whether a file is a JSON object with these keys."""

    def recognise(path: Path) -> bool:
        try:
            found = json.loads(path.read_bytes())
        except (ValueError, RecursionError):
            return False
        return isinstance(found, dict) and set(keys) <= set(found)

    return recognise


def _head(path: Path, size_bytes: int) -> bytes:
    with path.open("rb") as file:
        return file.read(size_bytes)
