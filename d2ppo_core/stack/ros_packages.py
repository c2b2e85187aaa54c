"""The project's own ROS packages: whether nodes can run here, and building them into this environment."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from d2ppo_core.errors import ConfigError, StackError
from d2ppo_core.extras import how_to_get
from d2ppo_core.shipped import shipped

INTERFACES, NODES = "d2ppo_interfaces", "d2ppo_nodes"
VERBS = ("arm", "panel", "record", "swap", "teleop")
"""Verbs of the command line that the nodes' package brings."""
FIX = "d2ppo doctor --fix-ros"
_LIMIT_S = 900.0
_BUILDERS = ("cmake", "make", "g++")


def missing_ros() -> str:
    """Return what nodes lack here and the step that brings it, in one line; empty when nothing is missing."""
    if _folder("rclpy") is None:
        return f"{how_to_get('rclpy')}, or source a ROS 2 install; then: {FIX}"
    absent = [name for name in (INTERFACES, NODES) if _folder(name) is None]
    if absent:
        return f"the ROS package{'s' * (len(absent) - 1)} {' and '.join(absent)} must be built here; run: {FIX}"
    return other_version()


def other_version() -> str:
    """Return one line when the packages were built for another version than is installed; empty otherwise."""
    try:
        built, own = version(NODES), version("d2ppo-panda")
    except PackageNotFoundError:  # nodes on the path of a foreign workspace
        return ""
    return "" if built == own else f"the ROS packages here are of d2ppo {built}, this is {own}; run: {FIX}"


def _folder(package: str) -> Path | None:
    """Return the folder of an importable package; leftovers without an ``__init__`` are none."""
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parent if spec is not None and spec.origin is not None else None


def build_ros_packages() -> Iterator[str]:
    """Build interfaces, nodes and bring-up into this virtual environment, and tell each step in a line.

    Raises:
        ConfigError: this is no virtual environment, or ROS 2 or a compiler is missing.
        StackError: they could not be built.
    """
    if sys.prefix == sys.base_prefix:
        raise ConfigError("ROS packages are built into a virtual environment, and this Python runs in none; make one")
    rclpy = _folder("rclpy")
    if rclpy is None:
        raise ConfigError(f"{how_to_get('rclpy')}, or source a ROS 2 install")
    absent = [name for name in _BUILDERS if shutil.which(name) is None]
    if absent:
        raise ConfigError(f"building ROS packages needs {' and '.join(absent)}; run: apt-get install cmake make g++")
    if missing_ros():  # whatever a former build noted
        Path(sys.prefix, ".d2ppo", "ros2_ws").unlink(missing_ok=True)
    home = ros_home(rclpy)
    yield f"building {shipped('ros2_ws/src')} against ROS 2 in {home or sys.prefix}"
    command = ["bash", str(shipped("tools/build-ros.sh")), sys.prefix, str(home or "")]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        raise StackError(f"the ROS packages were not built within {_LIMIT_S:g} s") from None
    if done.returncode != 0:
        raise StackError(f"the ROS packages could not be built: {done.stderr.strip()}")
    yield from done.stdout.splitlines() or ["nothing changed since they were built"]
    if home is not None and (home / "setup.sh").is_file():
        yield f"in each terminal, before d2ppo: . {home}/setup.sh; . {sys.prefix}/local_setup.sh"


def ros_home(rclpy: Path) -> Path | None:
    """Return the prefix of the ROS 2 install that ``rclpy`` belongs to; None for wheels in this environment."""
    for folder in rclpy.parents:
        if (folder / "share" / "ament_index").is_dir():
            return None if folder.samefile(sys.prefix) else folder
    raise ConfigError(f"{rclpy} belongs to no ROS 2 install: no folder above it has share/ament_index")
