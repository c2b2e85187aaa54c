"""A bounded store of rows: the newest replace the oldest, in memory that is taken once."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psutil
import torch
from torch import Tensor

from d2ppo_core.errors import ConfigError
from d2ppo_core.models.build import Shapes
from d2ppo_core.pretrain.batches import draw_shifts, shifted_images


@dataclass(frozen=True)
class Column:
    """What one row holds under one name."""

    shape: tuple[int, ...]
    dtype: torch.dtype = torch.float32

    @property
    def row_bytes(self) -> int:
        """Of one row."""
        return math.prod(self.shape) * self.dtype.itemsize


def observation_columns(shapes: Shapes) -> dict[str, Column]:
    """Of what a policy reads: `state`, and `images` where it sees any."""
    state = {"state": Column((shapes.state_dim,))}
    if not shapes.num_cameras:
        return state
    return state | {"images": Column((shapes.num_cameras, *shapes.image_hw, 3), torch.uint8)}


def observations_at(
    columns: Mapping[str, Tensor],
    index: Tensor,
    *,
    random_shift_px: int,
    generator: torch.Generator,
    device: torch.device,
) -> tuple[Tensor, Tensor | None]:
    """States and pictures at places (B,), to learn from on `device`; each picture shifted anew by what is drawn."""
    state = columns["state"][index].to(device)
    if "images" not in columns:
        return state, None
    pictures = columns["images"]
    shifts = draw_shifts(len(index), pictures.shape[1], random_shift_px, generator)
    return state, shifted_images(pictures, index, shifts).to(device)


def free_bytes() -> int:
    """Memory of this machine that is free."""
    return int(psutil.virtual_memory().available)


class Ring:
    """Rows of several columns; row numbers are places in memory and stay until they are overwritten."""

    def __init__(self, capacity: int, columns: Mapping[str, Column], *, key: str) -> None:
        """Take the memory.

        Args:
            capacity: Rows.
            columns: By name.
            key: The configuration's name of the capacity, for the message.

        Raises:
            ConfigError: it is more than half of what is free: checkpoints and the update need the rest.
        """
        wanted, free = capacity * sum(column.row_bytes for column in columns.values()), free_bytes()
        if wanted > free / 2:
            raise ConfigError(
                f"{key}: {capacity} rows take {wanted / 1e9:.2f} GB, wanted at most half of the {free / 1e9:.2f} GB "
                f"that are free; about {int(capacity * free / 2 / wanted)} would fit"
            )
        self.capacity = capacity
        self.columns = {name: torch.zeros(capacity, *c.shape, dtype=c.dtype) for name, c in columns.items()}
        self.written = 0
        """Rows ever written."""

    def __len__(self) -> int:
        """Rows held."""
        return min(self.written, self.capacity)

    def append(self, rows: Mapping[str, Tensor]) -> Tensor:
        """Write equally many rows of every column over the oldest; returns their places (N,).

        Raises ValueError when they are more than fit.
        """
        count = len(next(iter(rows.values())))
        if count > self.capacity:
            raise ValueError(f"wanted at most {self.capacity} rows at once, got {count}")
        places = (torch.arange(count) + self.written) % self.capacity
        for name, column in self.columns.items():
            column[places] = rows[name].to(column.dtype)
        self.written += count
        return places

    def state_dict(self) -> dict[str, Any]:
        """What is held, for checkpoints."""
        held = {name: column[: len(self)].clone() for name, column in self.columns.items()}
        return {"written": self.written, "columns": held}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.written = state["written"]
        for name, column in self.columns.items():
            column[: len(self)] = state["columns"][name]
