"""Compiles the kernel on first use, against the very MuJoCo that is installed.

MuJoCo's structures change with every version, so a library compiled when the package was installed would silently
break when `pip install -U mujoco` runs. The library therefore lives in a cache under a name that contains a hash of
its sources, of MuJoCo's version and of the compiler's; whatever changes, the next use compiles anew (about 5 s, once).
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

import mujoco

from d2ppo_core.environment import cache_folder
from d2ppo_core.errors import WorldError

SOURCES = Path(__file__).parent / "csrc"
FLAGS = ("-std=c++17", "-O3", "-fPIC", "-shared", "-pthread", "-ffp-contract=off", "-Wall", "-Wextra")
"""No fused multiply-adds: every x86 machine computes the same numbers."""


def find_compiler() -> str | None:
    """The C++ compiler: $CXX, else what is on the PATH."""
    wanted = os.environ.get("CXX")
    if wanted is not None:
        return shutil.which(wanted)
    return next((path for name in ("c++", "g++", "clang++") if (path := shutil.which(name))), None)


def library() -> Path:
    """The compiled kernel; compiles it if this combination of sources, MuJoCo and compiler is new.

    Raises:
        WorldError: there is no compiler, or it fails.
    """
    compiler = find_compiler()
    if compiler is None:
        raise WorldError("the fast simulation needs a C++ compiler; install one with: sudo apt-get install g++")
    folder = cache_folder() / f"kernel-{_fingerprint(compiler)}"
    path = folder / "libbatch.so"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            fresh = Path(scratch) / path.name
            _compile(compiler, fresh)
            fresh.replace(path)  # atomic: two processes may compile at the same time
    return path


def _compile(compiler: str, target: Path) -> None:
    home = Path(mujoco.__file__).parent
    mujoco_library = next(iter(sorted(home.glob("libmujoco*.so*"))), None)
    if mujoco_library is None:
        raise WorldError(f"there is no libmujoco in {home}; reinstall it with: pip install --force-reinstall mujoco")
    sources = [str(path) for path in sorted(SOURCES.glob("*.cpp"))]
    command = [compiler, *FLAGS, f"-I{home / 'include'}", *sources, str(mujoco_library), "-o", str(target)]
    command += [f"-Wl,-rpath,{home}"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        detail = next((line for line in result.stderr.splitlines() if "error" in line), result.stderr[-300:])
        raise WorldError(f"{compiler} cannot compile the simulation kernel: {detail}")


def _fingerprint(compiler: str) -> str:
    digest = hashlib.sha256()
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False).stdout
    for part in (mujoco.__version__, str(Path(mujoco.__file__).parent), version, platform.machine(), *FLAGS):
        digest.update(part.encode() + b"\0")
    for path in sorted(SOURCES.iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


if __name__ == "__main__":
    print(library())
