"""Checkpoints: one file per run, replaced atomically, readable without executing anything it holds."""

import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from d2ppo_core.config import PretrainConfig, as_it_was, from_mapping, gone, to_mapping
from d2ppo_core.data.normalizer import Normalizer
from d2ppo_core.errors import TrainingError
from d2ppo_core.models.build import Shapes
from d2ppo_core.pretrain.failures import reason, write_atomically

FILE_NAME = "checkpoint.pt"
_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The complete state of a run after `step` optimiser steps."""

    config: PretrainConfig
    normalizer: Normalizer
    shapes: Shapes
    low_dim_sizes: tuple[int, ...]
    dataset: dict[str, Any]
    """`file`, `sha256`, `num_windows`, `num_episodes`."""
    code: dict[str, Any]
    """Commit and versions at the start of the run."""
    step: int
    elapsed_s: float
    model: dict[str, Any]
    ema: dict[str, Any]
    optimizer: dict[str, Any]
    rng_state: torch.Tensor
    """torch's global generator; batches draw from generators seeded by (seed, step) instead."""
    gone: tuple[str, ...] = ()
    """Settings of an older version that trained it and are no more, as `key=value`."""


def to_payload(checkpoint: Checkpoint) -> dict[str, Any]:
    """Plain containers and tensors, ready for `torch.save`."""
    shapes = checkpoint.shapes
    return {
        "format": _FORMAT,
        "config": to_mapping(checkpoint.config),
        "normalizer": checkpoint.normalizer.to_mapping(),
        "shapes": [shapes.state_dim, shapes.action_dim, shapes.num_cameras, *shapes.image_hw, *shapes.camera_hw],
        "low_dim_sizes": list(checkpoint.low_dim_sizes),
        "dataset": checkpoint.dataset,
        "code": checkpoint.code,
        "step": checkpoint.step,
        "elapsed_s": checkpoint.elapsed_s,
        "model": checkpoint.model,
        "ema": checkpoint.ema,
        "optimizer": checkpoint.optimizer,
        "rng_state": checkpoint.rng_state,
        "gone": list(checkpoint.gone),
    }


def save_checkpoint(checkpoint: Checkpoint, folder: Path) -> Path:
    """Write `checkpoint.pt` by replacing it: a crash leaves the old one or the new one.

    Raises TrainingError, in one line, when the disk is full or not writable; the old checkpoint stays.
    """
    path = folder / FILE_NAME
    try:
        write_atomically(to_payload(checkpoint), path)
    except OSError as error:
        raise TrainingError(f"cannot save step {checkpoint.step} in {path}: {reason(error)}") from error
    return path


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read the checkpoint of a run. Raises TrainingError when there is none or it cannot be read."""
    path = folder / FILE_NAME
    if not path.is_file():
        raise TrainingError(f"{folder}: no {FILE_NAME}; start a run there with `d2ppo pretrain … --out {folder}`")
    try:
        payload = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile, ValueError) as error:
        raise TrainingError(f"{path}: not a readable checkpoint ({type(error).__name__})") from error
    if not isinstance(payload, dict) or payload.get("format") != _FORMAT:
        raise TrainingError(f"{path}: wanted checkpoint format {_FORMAT}; train again with this version")
    return from_payload(payload)


def from_payload(payload: dict[str, Any]) -> Checkpoint:
    """Inverse of `to_payload`."""
    state_dim, action_dim, num_cameras, height, width, *camera_hw = payload["shapes"]  # older ones end here
    return Checkpoint(
        config=from_mapping(PretrainConfig, as_it_was(PretrainConfig, payload["config"])),
        normalizer=Normalizer.from_mapping(payload["normalizer"]),
        shapes=Shapes(
            state_dim=state_dim,
            action_dim=action_dim,
            num_cameras=num_cameras,
            image_hw=(height, width),
            camera_hw=(camera_hw[0], camera_hw[1]) if camera_hw else (height, width),
        ),
        low_dim_sizes=tuple(payload["low_dim_sizes"]),
        dataset=payload["dataset"],
        code=payload["code"],
        step=payload["step"],
        elapsed_s=payload["elapsed_s"],
        model=payload["model"],
        ema=payload["ema"],
        optimizer=payload["optimizer"],
        rng_state=payload["rng_state"],
        gone=tuple(payload.get("gone", ())) or gone(payload["config"]),
    )
