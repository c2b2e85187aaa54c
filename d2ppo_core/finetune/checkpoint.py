"""Checkpoints of fine-tuning: one file per run, replaced atomically, carrying the pre-trained policy along."""

import dataclasses
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from d2ppo_core.config import FinetuneConfig, as_it_was, from_mapping, to_mapping
from d2ppo_core.errors import TrainingError
from d2ppo_core.pretrain.checkpoint import Checkpoint, from_payload, to_payload
from d2ppo_core.pretrain.failures import reason, write_atomically

FILE_NAME = "finetune.pt"
_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class FinetuneCheckpoint:
    """The complete state of a run after `iteration` iterations."""

    config: FinetuneConfig
    origin: Checkpoint
    """The pre-trained policy (its averaged weights are the frozen ones); without optimiser state."""
    code: dict[str, Any]
    """Commit and versions at the start of the run."""
    iteration: int
    env_steps: int
    elapsed_s: float
    learner: dict[str, Any]
    """`actor`, `ema`, `critic`, their optimisers, and the scale of rewards."""
    best: dict[str, Any]
    """`success` of the best evaluation so far, its `iteration`, and the `weights` that made it."""


def save_checkpoint(checkpoint: FinetuneCheckpoint, folder: Path) -> Path:
    """Write `finetune.pt` by replacing it: a crash or a full disk leaves the old one or the new one.

    Raises TrainingError when it cannot be written.
    """
    origin = to_payload(dataclasses.replace(checkpoint.origin, optimizer={}))
    payload = {f.name: getattr(checkpoint, f.name) for f in dataclasses.fields(checkpoint)} | {
        "format": _FORMAT,
        "config": to_mapping(checkpoint.config),
        "origin": origin,
    }
    path = folder / FILE_NAME
    try:
        write_atomically(payload, path)
    except OSError as error:
        kept = "the one before is kept" if path.exists() else "there is none yet"
        raise TrainingError(
            f"cannot save iteration {checkpoint.iteration} in {path}: {reason(error)}; {kept}"
        ) from error
    return path


def load_checkpoint(folder: Path) -> FinetuneCheckpoint:
    """Read the checkpoint of a run. Raises TrainingError when there is none or it cannot be read."""
    path = folder / FILE_NAME
    if not path.is_file():
        raise TrainingError(f"{folder}: no {FILE_NAME}; start a run there with `d2ppo finetune … --out {folder}`")
    try:
        payload = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile, ValueError) as error:
        raise TrainingError(f"{path}: not a readable checkpoint ({type(error).__name__})") from error
    if not isinstance(payload, dict) or payload.pop("format", None) != _FORMAT:
        raise TrainingError(f"{path}: wanted checkpoint format {_FORMAT}; fine-tune again with this version")
    config = from_mapping(FinetuneConfig, as_it_was(FinetuneConfig, payload.pop("config")))
    return FinetuneCheckpoint(config=config, origin=from_payload(payload.pop("origin")), **payload)
