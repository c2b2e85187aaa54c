"""The shared object that a Panda sends its clients (LoadModelLibrary), compiled for the simulated arm's masses."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

import mujoco
import numpy as np

from d2ppo_core.environment import cache_folder
from d2ppo_core.errors import WorldError
from sim.fci.hand import inertia_tensor

SOURCE = Path(__file__).parent / "csrc" / "panda_model.c"
FLAGS = ("-std=c11", "-O2", "-shared", "-fPIC", "-ffp-contract=off", "-Wall", "-Wextra")
PROCESSORS = {"x86_64": 0, "aarch64": 3}
"""Processors as the request numbers them."""
LINUX = 0


def find_compiler() -> str | None:
    """The C compiler: $CC, else what is on the PATH."""
    wanted = os.environ.get("CC")
    if wanted is not None:
        return shutil.which(wanted)
    return next((path for name in ("cc", "gcc", "clang") if (path := shutil.which(name))), None)


def model_library(model: mujoco.MjModel) -> Path:
    """The compiled library for this arm; compiles it (a quarter of a second) if it is not in the cache.

    Raises:
        WorldError: there is no compiler, or it fails.
    """
    compiler = find_compiler()
    if compiler is None:
        raise WorldError("a Panda's model library needs a C compiler; install one with: sudo apt-get install gcc")
    parameters = _parameters(model)
    digest = hashlib.sha256(SOURCE.read_bytes() + parameters.encode() + platform.machine().encode()).hexdigest()
    path = cache_folder() / f"panda-model-{digest[:16]}.so"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            (Path(folder) / "parameters.h").write_text(parameters, encoding="utf-8")
            fresh = Path(folder) / path.name
            command = [compiler, *FLAGS, f"-I{folder}", str(SOURCE), "-o", str(fresh), "-lm"]
            result = subprocess.run(command, capture_output=True, text=True, check=False)
            if result.returncode:
                raise WorldError(f"{compiler} cannot compile the model library: {result.stderr.strip()[-300:]}")
            fresh.replace(path)  # atomic: two processes may compile at the same time
    return path


def is_served(processor: int, system: int) -> bool:
    """Whether a client on this processor and system (as the request numbers them) can load this machine's library."""
    return system == LINUX and PROCESSORS.get(platform.machine()) == processor


def _parameters(model: mujoco.MjModel) -> str:
    bodies = [model.body(f"robot0_link{index}").id for index in range(1, 8)]
    inertias = []
    for body in bodies:
        i = inertia_tensor(model, body)
        inertias.append((i[0, 0], i[1, 1], i[2, 2], i[0, 1], i[0, 2], i[1, 2]))
    return (
        f"static const double MASS[7] = {_braces(model.body_mass[bodies])};\n"
        f"static const double COM[7][3] = {_braces(model.body_ipos[bodies])};\n"
        f"static const double INERTIA[7][6] = {_braces(np.array(inertias))};\n"
    )


def _braces(values: np.ndarray) -> str:
    if values.ndim == 0:
        return repr(float(values))
    return "{" + ", ".join(_braces(value) for value in values) + "}"
