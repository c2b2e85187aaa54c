"""The machine itself: Python, Debian packages, kernel, processor."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from d2ppo_core.doctor.finding import Finding, fail, ok, warn
from d2ppo_core.shipped import shipped

WANTED_PYTHON = ((3, 11), (3, 12))
PACKAGE_LIST = shipped("tools/debian-packages.txt")
MIN_CORES = 2
SHARED_MEMORY_MIB = 128
"""A segment of 16 MiB for each of the stack's processes, and some for who listens."""


def check_python(version: tuple[int, int] | None = None) -> Finding:
    """The interpreter is one that the pinned wheels exist for."""
    found = version or (sys.version_info.major, sys.version_info.minor)
    text = f"Python {found[0]}.{found[1]}"
    if found in WANTED_PYTHON:
        return ok("Python", text)
    return fail("Python", f"{text}, wanted 3.11 or 3.12: make the environment from one of these")


def check_debian_packages(package_list: Path = PACKAGE_LIST) -> Finding:
    """Every package of the list is installed."""
    name = "Debian packages"
    if shutil.which("dpkg-query") is None:
        return warn(name, f"this is no Debian or Ubuntu; install the equivalents of {package_list}")
    if not package_list.is_file():
        return warn(name, f"{package_list} is not there, nothing to compare with")
    lines = [line.split() for line in package_list.read_text(encoding="utf-8").splitlines()]
    wanted = [words[0] for words in lines if words and not words[0].startswith("#")]
    missing = [package for package in wanted if not is_installed(package)]
    if missing:
        return fail(name, f"missing: {' '.join(missing)}; run: apt-get install {' '.join(missing)}")
    return ok(name, f"{len(wanted)} of {len(wanted)} installed")


def is_installed(package: str) -> bool:
    """Return whether dpkg knows the package as installed."""
    command = ["dpkg-query", "-W", "-f", "${db:Status-Status}", package]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout == "installed"


def check_shared_memory(folder: Path = Path("/dev/shm"), wanted_mib: int = SHARED_MEMORY_MIB) -> Finding:
    """Fast DDS finds room for the segments through which images travel between processes."""
    name = "Shared memory"
    if not folder.is_dir():
        return fail(name, f"{folder} is not there; images cannot travel between the nodes")
    free_mib = shutil.disk_usage(folder).free // 2**20
    segments = len(list(folder.glob("fastrtps_*_el")))
    text = f"{free_mib} MiB free in {folder}, {segments} segments of ROS nodes"
    if free_mib < wanted_mib:
        return fail(name, f"{text}, {wanted_mib} MiB wanted; run: fastdds shm clean (in Docker: --shm-size=1g)")
    return ok(name, text)


def check_realtime_kernel(release: Path = Path("/sys/kernel/realtime")) -> Finding:
    """The kernel is a PREEMPT_RT one; without it a real robot may see late commands."""
    name = "Real-time kernel"
    if release.is_file() and release.read_text(encoding="utf-8").strip() == "1" or "PREEMPT_RT" in platform.version():
        return ok(name, platform.release())
    return warn(name, f"{platform.release()} is not PREEMPT_RT: fine for simulation, install one for a real robot")


def check_processor(governor: Path = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")) -> Finding:
    """Enough cores, and none that is slowed down to save power."""
    name = "Processor"
    cores = len(os.sched_getaffinity(0))
    mode = governor.read_text(encoding="utf-8").strip() if governor.is_file() else "unknown"
    text = f"{cores} cores, frequency governor {mode}"
    if cores < MIN_CORES:
        return warn(name, f"{text}; {MIN_CORES} cores are needed to keep real time")
    if mode == "powersave":
        return warn(name, f"{text}; for steady timing run: cpupower frequency-set -g performance")
    return ok(name, text)
