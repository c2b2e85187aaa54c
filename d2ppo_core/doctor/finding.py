"""The answer of one check."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class Status(Enum):
    """How bad it is: ``FAIL`` means that the stack will not run."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the doctor's table."""

    name: str
    status: Status
    text: str
    """What was found and, unless all is well, what to do about it."""


def ok(name: str, text: str) -> Finding:
    """Return a finding that needs nothing."""
    return Finding(name=name, status=Status.OK, text=text)


def warn(name: str, text: str) -> Finding:
    """Return a finding that the stack survives."""
    return Finding(name=name, status=Status.WARN, text=text)


def fail(name: str, text: str) -> Finding:
    """Return a finding that keeps the stack from running."""
    return Finding(name=name, status=Status.FAIL, text=text)


def run_python(code: str, environment: Mapping[str, str], limit_s: float = 60.0) -> tuple[bool, str]:
    """Run a snippet in a fresh interpreter, so that a crash of a native library is an answer and not an end.

    Returns:
        Whether it ended with exit code 0, and the last line that it printed.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=limit_s,
        )
    except subprocess.TimeoutExpired:
        return False, f"no answer within {limit_s:g} s"
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    last = lines[-1] if lines else ""
    if done.returncode < 0:
        last = f"killed by signal {-done.returncode}" + (f" ({last})" if last else "")
    return done.returncode == 0, last
