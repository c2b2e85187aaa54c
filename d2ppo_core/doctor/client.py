"""Puts the franky in place that fits a robot, and looks whether it does."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from d2ppo_core.compatibility import FRANKA_RS, FRANKY, client_named, franky_page, newest_server, servers
from d2ppo_core.doctor.finding import run_python
from d2ppo_core.errors import ConfigError, RobotError

_PIP_LIMIT_S = 600.0
_PAGE = "docs/lab/robot_client.md"
_LOOK = """
import franky
from d2ppo_core.compatibility import franky_speaks, installed_libfranka
from importlib.metadata import version
print(version("franky-control"), installed_libfranka(), franky_speaks(), franky.Robot.__name__)
"""


def fix_client(robot: str, server: int | None = None, index: str = "") -> Iterator[str]:
    """Install the franky for a robot, check it, and tell each step in a line.

    Args:
        robot: ``panda`` or ``fr3``; of its newest system, unless ``server`` is given.
        server: Robot-server version.
        index: Package index or folder of wheels to take it from instead of franky's own pages.

    Raises:
        ConfigError: No such robot, or it does not speak this version.
        RobotError: It could not be had or does not fit; what was installed before is still there, or said to be gone.
    """
    wanted = server_row(robot, server)
    source = index or franky_page(wanted)
    yield f"franky for a {robot} (server version {wanted}) from {source or 'the configured package index'}"
    _install(source, robot, wanted)
    good, told = run_python(_LOOK, os.environ)
    if not good:
        raise RobotError(f"the franky just installed does not load ({told}); undo: d2ppo doctor --fix-client fr3")
    found, libfranka, speaks, _ = told.split()
    if speaks != str(wanted):
        reason = f"it has libfranka {libfranka} and speaks server version {speaks}, wanted {wanted}"
        raise RobotError(f"{source} gave a franky that does not fit: {reason}; undo: d2ppo doctor --fix-client fr3")
    other = "fr3" if robot == "panda" else "panda"
    yield f"franky {found} with libfranka {libfranka} loads and speaks server version {speaks}"
    yield f"back: d2ppo doctor --fix-client {other}"


def server_row(robot: str, server: int | None) -> int:
    """Return the server version that is meant; ConfigError when the robot does not speak it."""
    newest = newest_server(robot).server
    known = [row.server for row in servers() if row.robot == robot]
    if server is not None and server not in known:
        raise ConfigError(f"--server-version: a {robot} speaks one of {', '.join(map(str, known))}, got {server}")
    return newest if server is None else server


def _install(source: str, robot: str, server: int) -> None:
    if importlib.util.find_spec("pip") is None:
        raise ConfigError("this environment has no pip to install with; run: uv pip install pip")
    franky = client_named(FRANKY)
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--no-deps"]
    command += ["--force-reinstall", "--only-binary", ":all:", "--retries", "1", "--timeout", "15"]
    command += [*_from(source), f"{franky.package}=={franky.version}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PIP_LIMIT_S, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        raise RobotError(f"pip did not end within {_PIP_LIMIT_S:g} s; is {source or 'the index'} reachable?") from None
    if done.returncode == 0:
        return
    reason = _reason(done)
    ways = [f"take the wheel elsewhere and give its folder, --index FOLDER, or build it ({_PAGE})"]
    if server in client_named(FRANKA_RS).servers:
        ways.append(f"or drive a {robot} by client: {FRANKA_RS}, which needs no other wheel")
    raise RobotError(
        f"franky for server version {server} could not be had from {source or 'the package index'}: {reason}; "
        f"nothing was changed; {', '.join(ways)}"
    )


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    """Return why pip failed: where nobody answers, it says last that there is no such version."""
    lines = (done.stdout + done.stderr).splitlines()
    if any("connection broken by" in line for line in lines):
        return "nobody answers there"
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return errors[0] if errors else f"pip ended with {done.returncode}"


def _from(source: str) -> list[str]:
    """Options of pip for a folder of wheels, or for a package index: a folder too or an address."""
    if not source:
        return []
    folder = Path(source)
    if folder.is_dir():
        if any(folder.glob("*.whl")):
            return ["--no-index", "--find-links", str(folder)]
        return ["--index-url", folder.resolve().as_uri()]
    if "://" not in source:
        raise ConfigError(f"--index: wanted an address or a folder with wheels, got {source!r}")
    return ["--index-url", source]
