"""Batches as a function of (seed, step): resuming needs the step number and nothing else.

Random numbers come from CPU generators on every device, so a batch is the same everywhere; only they travel, the
dataset stays on the device.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from d2ppo_core.config import PretrainConfig
from d2ppo_core.data.normalizer import Normalizer
from d2ppo_core.data.windows import Windows
from d2ppo_core.pretrain.distributed import ALONE, Processes

_EPOCH_STREAM, _STEP_STREAM = 1, 2


def _generator(seed: int, stream: int, index: int) -> torch.Generator:
    # torch's CPU generator looks at 32 bits of its seed only, so the triple has to be hashed into them.
    (mixed,) = np.random.SeedSequence((seed, stream, index)).generate_state(1)
    return torch.Generator().manual_seed(int(mixed))


@dataclass(frozen=True, kw_only=True)
class Tensors:
    """A normalised dataset as tensors that share memory with the windows where they can."""

    state: Tensor
    """(N, Ds) in [-1, 1]."""
    chunks: Tensor
    """(N, Tp*Da) in [-1, 1]."""
    images: Tensor | None
    """uint8 (N, Ncam, H, W, 3)."""

    @classmethod
    def from_windows(cls, windows: Windows, normalizer: Normalizer, device: torch.device | str = "cpu") -> "Tensors":
        """Normalise once, outside of the training loop."""
        return cls(
            state=torch.from_numpy(normalizer.state.normalize(windows.state)).to(device),
            chunks=torch.from_numpy(normalizer.action.normalize(windows.chunks)).flatten(1).to(device),
            images=None if windows.images is None else torch.from_numpy(windows.images).to(device),
        )

    def __len__(self) -> int:
        """Number of windows N."""
        return len(self.state)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """B observations with M (noise, t) pairs each; pair m of observation b is row b * M + m."""

    state: Tensor
    """(B, Ds)."""
    images: Tensor | None
    """uint8 (B, Ncam, H, W, 3)."""
    images_again: Tensor | None = None
    """The same pictures shifted otherwise, for the published dispersive term."""
    chunks: Tensor
    """(B*M, Tp*Da)."""
    eps: Tensor
    """(B*M, Tp*Da)."""
    t: Tensor
    """(B*M,) integer."""


@lru_cache(maxsize=4)
def _epoch_order(num_windows: int, seed: int, epoch: int) -> Tensor:
    """The permutation of an epoch; every step of it asks."""
    return torch.randperm(num_windows, generator=_generator(seed, _EPOCH_STREAM, epoch))


def batch_indices(num_windows: int, batch_size: int, seed: int, step: int) -> Tensor:
    """Windows of batch number `step` (from 0): a fresh permutation per epoch, a short last batch is left out."""
    batch_size = min(batch_size, num_windows)
    epoch, position = divmod(step, num_windows // batch_size)
    return _epoch_order(num_windows, seed, epoch)[position * batch_size : (position + 1) * batch_size]


def draw_shifts(count: int, cameras: int, max_shift_px: int, generator: torch.Generator) -> Tensor | None:
    """(count, cameras, 2) offsets (y, x) in pixels, within ± max_shift_px; None when that is 0."""
    if not max_shift_px:
        return None
    return torch.randint(-max_shift_px, max_shift_px + 1, (count, cameras, 2), generator=generator)


def shifted_images(images: Tensor, indices: Tensor, shifts: Tensor | None) -> Tensor:
    """Select images and shift each by its own offset, repeating border pixels, in one gather.

    images uint8 (N, Ncam, H, W, 3), indices (B,), shifts (B, Ncam, 2) -> uint8 (B, Ncam, H, W, 3).
    """
    if shifts is None:
        return images[indices]
    cameras, height, width = images.shape[1:4]
    rows = (torch.arange(height, device=images.device) + shifts[..., :1]).clamp_(0, height - 1)
    columns = (torch.arange(width, device=images.device) + shifts[..., 1:]).clamp_(0, width - 1)
    batch = indices[:, None, None, None]
    camera = torch.arange(cameras, device=images.device)[:, None, None]
    return images[batch, camera, rows[..., :, None], columns[..., None, :]]


def draw_batch(data: Tensors, config: PretrainConfig, step: int, processes: Processes = ALONE) -> Batch:
    """Everything random about training step `step` (from 0), or this process's share of it."""
    loss, device = config.loss, data.state.device
    generator = _generator(config.seed, _STEP_STREAM, step)

    def mine(rows: Tensor) -> Tensor:
        return processes.share(rows).to(device, non_blocking=True)

    whole = batch_indices(len(data), config.optim.batch_size, config.seed, step)
    indices, pairs = mine(whole), (len(whole), loss.noise_samples_per_obs)
    state = data.state.index_select(0, indices)
    if config.data.state_noise_std:
        noise = torch.randn(len(whole), state.shape[1], generator=generator)
        state = state + config.data.state_noise_std * mine(noise)
    images = images_again = None
    if data.images is not None:
        cameras, limit_px = data.images.shape[1], config.data.random_shift_px
        shifts = draw_shifts(len(whole), cameras, limit_px, generator)
        images = shifted_images(data.images, indices, None if shifts is None else mine(shifts))
        if loss.published and loss.active:
            shifts = draw_shifts(len(whole), cameras, limit_px, generator)
            images_again = shifted_images(data.images, indices, None if shifts is None else mine(shifts))
    chunks = data.chunks.index_select(0, indices)
    return Batch(
        state=state,
        images=images,
        images_again=images_again,
        chunks=chunks if loss.noise_samples_per_obs == 1 else chunks.repeat_interleave(pairs[1], dim=0),
        eps=mine(torch.randn(*pairs, chunks.shape[1], generator=generator)).flatten(0, 1),
        t=mine(torch.randint(config.model.num_train_steps, pairs, generator=generator)).flatten(),
    )
