"""Files and folders that appear when they are complete, and that take the place of nothing but what is ours.

What is being written lies in a hidden folder beside its place, `.<name>.<random>.partial`, with a marker that the
writer keeps locked. So nobody sees half of it, a failure leaves what was there before, and the leftover of a writer
that was killed is told from a folder of somebody's: it has the marker, and nobody holds it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from d2ppo_core.errors import OutputError

MARKER = ".d2ppo-unfinished"
_SUFFIX = ".partial"
_NAMED = 3
"""Of what stands in the way, so many are named."""

IsOurs = Callable[[Path], bool]


def check_folder(out: Path, what: str, is_ours: IsOurs) -> None:
    """Raise OutputError unless a folder may be written at `out`: nothing is there, or nothing in it, or one of ours.

    Args:
        out: Where the folder shall be.
        what: What it will be, e.g. `bundle`.
        is_ours: Whether a folder with something in it is such a one, and holds nothing else.
    """
    try:
        if not out.is_dir():
            if out.exists() or out.is_symlink():
                raise OutputError(f"{out} is a file; wanted a folder for the {what}, choose another --out")
            return
        inside = sorted(path.name for path in out.iterdir())
        if inside and not is_ours(out):
            held = ", ".join(inside[:_NAMED]) + (", …" if len(inside) > _NAMED else "")
            raise OutputError(f"{out} is not replaced, it is not just a {what}: it holds {held}; choose another --out")
    except OSError as error:
        raise OutputError(f"{out} cannot be looked into: {_reason(error)}") from error


def check_file(out: Path, what: str, is_ours: IsOurs) -> None:
    """Raise OutputError unless a file may be written at `out`: nothing is there, or nothing in it, or one of ours.

    Args:
        out: Where the file shall be.
        what: What it will be, e.g. `film`.
        is_ours: Whether a file with something in it is of this kind.
    """
    try:
        if out.is_dir():
            raise OutputError(f"{out} is a folder; wanted a file for the {what}, choose another --out")
        if out.exists() and out.stat().st_size and not is_ours(out):
            raise OutputError(f"{out} is not replaced, as it is no {what}; choose another --out")
    except OSError as error:
        raise OutputError(f"{out} cannot be looked into: {_reason(error)}") from error


@contextmanager
def writing_folder(out: Path, what: str, is_ours: IsOurs = lambda folder: False) -> Iterator[Path]:
    """Yield an empty folder that becomes `out` when the block ends well, and is gone when it does not.

    Raises:
        OutputError: as `check_folder`, or the operating system refused to write.
    """
    check_folder(out, what, is_ours)
    place = out.resolve()  # a link to a folder stays one
    with _staging(place) as staging:
        fresh = staging / place.name
        fresh.mkdir()
        yield fresh
        check_folder(out, what, is_ours)  # somebody may have put something there meanwhile
        if place.is_dir():
            old = staging / "old"
            place.rename(old)
            try:
                fresh.rename(place)
            except OSError:
                old.rename(place)
                raise
        else:
            fresh.rename(place)


@contextmanager
def writing_file(out: Path, what: str, is_ours: IsOurs = lambda file: False) -> Iterator[Path]:
    """Yield the path of a file to be written, which becomes `out` when the block ends well, and is gone when not.

    Raises:
        OutputError: as `check_file`, or the operating system refused to write.
    """
    check_file(out, what, is_ours)
    place = out.resolve()
    with _staging(place) as staging:
        fresh = staging / place.name
        yield fresh
        check_file(out, what, is_ours)
        os.replace(fresh, place)


@contextmanager
def _staging(place: Path) -> Iterator[Path]:
    """A marked folder beside `place`, removed at the end; those of dead writers go first."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _sweep(place)
        folder = place.parent / f".{place.name}.{secrets.token_hex(4)}{_SUFFIX}"
        folder.mkdir()
        try:
            with (folder / MARKER).open("w", encoding="utf-8") as marker:
                _is_free(marker)
                yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise OutputError(f"{place} cannot be written: {_reason(error)}") from error


def _sweep(place: Path) -> None:
    """Remove what writers of `place` left that were killed."""
    for folder in place.parent.iterdir():
        if not (folder.name.startswith(f".{place.name}.") and folder.name.endswith(_SUFFIX)):
            continue
        try:
            with (folder / MARKER).open(encoding="utf-8") as marker:
                dead = _is_free(marker)
        except OSError:  # not marked: somebody's
            continue
        if dead:
            shutil.rmtree(folder, ignore_errors=True)


def _is_free(marker: IO[str]) -> bool:
    """Take a marker's lock if nobody has it."""
    try:
        fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held, or a file system without locks, where nothing is known to be dead
        return False
    return True


def _reason(error: OSError) -> str:
    if isinstance(error, FileExistsError):  # pathlib's word for a parent that is a file
        return os.strerror(errno.ENOTDIR)
    return os.strerror(error.errno) if error.errno else str(error)
