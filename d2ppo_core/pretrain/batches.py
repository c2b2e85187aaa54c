"""Batches as a function of (seed, step): resuming needs the step number and nothing else."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from d2ppo_core.config import PretrainConfig
from d2ppo_core.data.normalizer import Normalizer
from d2ppo_core.data.windows import Windows

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
    def from_windows(cls, windows: Windows, normalizer: Normalizer) -> "Tensors":
        """Normalise once, outside of the training loop."""
        return cls(
            state=torch.from_numpy(normalizer.state.normalize(windows.state)),
            chunks=torch.from_numpy(normalizer.action.normalize(windows.chunks)).flatten(1),
            images=None if windows.images is None else torch.from_numpy(windows.images),
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
    chunks: Tensor
    """(B*M, Tp*Da)."""
    eps: Tensor
    """(B*M, Tp*Da)."""
    t: Tensor
    """(B*M,) integer."""


def batch_indices(num_windows: int, batch_size: int, seed: int, step: int) -> Tensor:
    """Windows of batch number `step` (from 0): a fresh permutation per epoch, a short last batch is left out."""
    batch_size = min(batch_size, num_windows)
    epoch, position = divmod(step, num_windows // batch_size)
    order = torch.randperm(num_windows, generator=_generator(seed, _EPOCH_STREAM, epoch))
    return order[position * batch_size : (position + 1) * batch_size]


def shifted_images(images: Tensor, indices: Tensor, max_shift_px: int, generator: torch.Generator) -> Tensor:
    """Select images and shift each by its own random offset, repeating border pixels, in one gather.

    images uint8 (N, Ncam, H, W, 3), indices (B,) -> uint8 (B, Ncam, H, W, 3).
    """
    if not max_shift_px:
        return images[indices]
    cameras, height, width = images.shape[1:4]
    shape = (len(indices), cameras, 1)
    shift_y, shift_x = torch.randint(-max_shift_px, max_shift_px + 1, (2, *shape), generator=generator)
    rows = (torch.arange(height) + shift_y).clamp_(0, height - 1)
    columns = (torch.arange(width) + shift_x).clamp_(0, width - 1)
    batch = indices[:, None, None, None]
    camera = torch.arange(cameras)[:, None, None]
    return images[batch, camera, rows[..., :, None], columns[..., None, :]]


def draw_batch(data: Tensors, config: PretrainConfig, step: int) -> Batch:
    """Everything random about training step `step` (from 0)."""
    indices = batch_indices(len(data), config.optim.batch_size, config.seed, step)
    generator = _generator(config.seed, _STEP_STREAM, step)
    samples = config.loss.noise_samples_per_obs
    state = data.state[indices]
    if config.data.state_noise_std:
        state = state + config.data.state_noise_std * torch.randn(state.shape, generator=generator)
    images = None
    if data.images is not None:
        images = shifted_images(data.images, indices, config.data.random_shift_px, generator)
    chunks = data.chunks[indices].repeat_interleave(samples, dim=0)
    return Batch(
        state=state,
        images=images,
        chunks=chunks,
        eps=torch.randn(chunks.shape, generator=generator),
        t=torch.randint(config.model.num_train_steps, (len(chunks),), generator=generator),
    )
