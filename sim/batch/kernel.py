"""Choice of the kernel: compiled where that is possible, else NumPy."""

from __future__ import annotations

import logging
from typing import Literal

import mujoco

from d2ppo_core.errors import ConfigError
from sim.batch.build import find_compiler
from sim.batch.fallback import NumpyKernel
from sim.batch.layout import Layout
from sim.batch.native import NativeKernel

KernelName = Literal["auto", "native", "numpy"]
Arithmetic = Literal["fast", "exact"]


def make_kernel(
    name: KernelName,
    model: mujoco.MjModel,
    layout: Layout,
    num_envs: int,
    *,
    num_threads: int,
    pin: bool,
    arithmetic: Arithmetic,
) -> NativeKernel | NumpyKernel:
    """Worlds of this layout. `auto` falls back to NumPy, with a warning, only where there is no compiler.

    Raises:
        ConfigError: no such kernel or arithmetic.
        WorldError: the native kernel was asked for, or could be, but does not compile.
    """
    if name not in ("auto", "native", "numpy"):
        raise ConfigError(f"the kernel must be auto, native or numpy, got {name!r}")
    if arithmetic not in ("fast", "exact"):
        raise ConfigError(f"the arithmetic must be fast or exact, got {arithmetic!r}")
    if name == "auto" and find_compiler() is None:
        logging.getLogger(__name__).warning(
            "no C++ compiler found: simulation runs in Python, about ten times slower; sudo apt-get install g++"
        )
        name = "numpy"
    if name == "numpy":
        return NumpyKernel(model, layout, num_envs)
    return NativeKernel(model, layout, num_envs, num_threads=num_threads, pin=pin, exact=arithmetic == "exact")
