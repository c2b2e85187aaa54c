"""What a measured run left: `evaluation.json`, and for fine-tuning success on its way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from d2ppo_core.analysis.curves import read_curves
from d2ppo_core.errors import DataError

FILE_NAME = "evaluation.json"
_VALIDATION = {
    "noise_loss": "losses/validation",
    "action_error": "validation/action_error",
    "sensitivity": "validation/sensitivity",
    "first_layer_rms": "first_layer/rms",
    "time_share": "first_layer/time_share",
    "observation_share": "first_layer/observation_share",
}


def load_record(folder: Path) -> dict[str, Any] | None:
    """Of one run; None while it was not measured. Raises DataError when the file cannot be read."""
    path = folder / FILE_NAME
    if not path.is_file():
        return None
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: not readable as JSON: {error}") from error
    if missing := [key for key in ("task", "cell", "seed", "evaluation", "commit", "dataset") if key not in record]:
        raise DataError(f"{path}: wanted a record of an experiment, got one without {', '.join(missing)}")
    return record


def load_validation(folder: Path) -> dict[str, float]:
    """What a pre-training's last validation said, by name without its group; empty where it logged none."""
    path = folder / "metrics.csv"
    if not path.is_file():
        return {}
    curves = read_curves(path)
    found = {key: curves.last(name) for key, name in _VALIDATION.items() if name in curves.columns}
    return {key: value for key, value in found.items() if np.isfinite(value)}


def load_curve(folder: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Success of a fine-tuning's evaluations against control steps, both (T,); the first is that of the clone.

    Raises DataError when there is no `metrics.csv` in `folder` or it cannot be read.
    """
    curves = read_curves(folder / "metrics.csv")
    nothing = np.full(len(curves.steps), np.nan)
    start, ema, steps = (
        curves.columns.get(name, nothing) for name in ("success/start", "success/ema", "rollout/env_steps")
    )
    at_start, later = np.isfinite(start), np.isfinite(ema)
    return np.concatenate([0.0 * start[at_start], steps[later]]), np.concatenate([start[at_start], ema[later]])
