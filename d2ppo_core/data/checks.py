"""What training wants of demonstrations; each refusal names file, demonstration, key, and what was wanted and got."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from d2ppo_core.config import DataConfig
from d2ppo_core.data.deltas import check_deltas
from d2ppo_core.data.episode import Episode, is_picture
from d2ppo_core.data.reader import EpisodeReader
from d2ppo_core.errors import DataError

_SIZES = {"eef_pos": 3, "eef_quat": 4, "quat": 4}
"""Numbers that observations have whose names end so."""


def check_episodes(
    reader: EpisodeReader, names: Sequence[str], episodes: Sequence[Episode], config: DataConfig
) -> None:
    """Raise DataError where a configuration cannot train on these demonstrations of a file.

    Sizes of pictures are not looked at here.
    """
    for name, episode in zip(names, episodes, strict=True):
        check_deltas(reader, name, episode.actions.shape[1])
        _check_alike(reader, name, "actions", episode.labels, episodes[0].labels, names[0])
        for key, values in episode.observations.items():
            place = f"{reader.path}: {name}/obs/{key}"
            if key in config.image_keys:
                if not is_picture(values):
                    raise DataError(f"{place}: wanted uint8 (T, H, W, 3), got {values.dtype} {values.shape}")
                continue
            if values.ndim != 2 or not values.shape[1]:
                raise DataError(f"{place}: wanted numbers (T, D), got {values.shape}")
            _check_alike(reader, name, f"obs/{key}", values, episodes[0].observations[key], names[0])
            _check_pose(place, key, values)


def _check_alike(
    reader: EpisodeReader, name: str, place: str, values: NDArray[Any], first: NDArray[Any], first_name: str
) -> None:
    """All demonstrations have the same numbers per step."""
    if values.shape[1:] != first.shape[1:]:
        raise DataError(
            f"{reader.path}: {name}/{place} has {values.shape[1]} numbers per step, but {first_name}/{place} has "
            f"{first.shape[1]}; leave one kind out by a subset (data.filter_key)"
        )


def _check_pose(place: str, key: str, values: NDArray[Any]) -> None:
    """Positions have three numbers, and quaternions four that say a direction."""
    wanted = next((size for ending, size in _SIZES.items() if key.endswith(f"_{ending}")), None)
    if wanted is not None and values.shape[1] != wanted:
        raise DataError(f"{place}: wanted {wanted} numbers per step, got {values.shape[1]}")
    if key.endswith("_quat"):
        zero = np.flatnonzero(np.linalg.norm(values, axis=1) < 1e-6)
        if len(zero):
            raise DataError(f"{place} is no rotation at step {zero[0]} (xyzw {values[zero[0]].tolist()})")
