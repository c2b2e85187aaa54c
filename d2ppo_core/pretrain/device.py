"""The machine that a run computes on: CPU or GPU, its numbers, its memory."""

import ctypes
import os
import platform
import shutil
from collections.abc import Callable
from typing import TypeVar

import torch

from d2ppo_core.config import OptimConfig
from d2ppo_core.errors import ConfigError

T = TypeVar("T")


def open_device(name: str, *, key: str = "optim.device") -> torch.device:
    """The device of this process; on CUDA number LOCAL_RANK, which torchrun sets, and with repeatable convolutions.

    Raises ConfigError, naming the configuration's `key`, when torch sees no such device.
    """
    if name == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ConfigError(
            f"{key}: wanted cuda, but torch {torch.__version__} sees no CUDA device; set {key}=cpu, or install a torch "
            "build for CUDA"
        )
    index, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if index >= count:
        raise ConfigError(f"{key}: wanted one GPU per process, got {count} for process {index + 1}")
    torch.backends.cudnn.deterministic = True
    device = torch.device("cuda", index)
    torch.cuda.set_device(device)
    return device


def compiled(function: Callable[..., T], optim: OptimConfig) -> Callable[..., T]:
    """The function as torch.compile makes it, or as it is where the configuration does not ask for that.

    On a GPU the kernels become CUDA graphs, which takes the launches of many small ones off a step. Raises ConfigError
    without a C++ compiler, which torch.compile runs.
    """
    if not optim.compile:
        return function
    check_compiler("optim.compile")
    mode = "reduce-overhead" if optim.device == "cuda" else "default"
    return torch.compile(function, mode=mode)


def check_compiler(key: str) -> None:
    """Raise ConfigError, naming the configuration's `key`, without the C++ compiler that torch.compile runs."""
    names = [os.environ.get("CXX", "g++"), "clang++"]
    if not any(shutil.which(name) for name in names):
        raise ConfigError(f"{key}: wanted a C++ compiler on the PATH ({' or '.join(names)}), got none")


def advice(optim: OptimConfig) -> str:
    """One line where the configuration is slow on this machine; empty where it is not."""
    if optim.device != "cpu" or optim.precision != "bfloat16":
        return ""
    found = torch.cpu.get_capabilities()
    if found.get("architecture") != "x86_64" or found.get("avx512_bf16") or found.get("amx_bf16"):
        return ""
    return "this CPU has no instructions for bfloat16: optim.precision=float32 is faster here"


def keep_freed_memory() -> None:
    """Ask glibc to reuse large blocks instead of returning them: a fifth of an image step is page faults else."""
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    trim_threshold, top_pad, mmap_threshold = -1, -2, -3
    mallopt(mmap_threshold, 32 * 2**20)
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(top_pad, 256 * 2**20)
