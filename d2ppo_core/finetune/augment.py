"""Random shifts of a rollout's pictures, as published for the second stage.

Actions are drawn from the cameras' own pictures. Before anything is learned, every picture is shifted once; values,
old and new likelihoods all look at the shifted one, so that ratios still begin at 1.
"""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from d2ppo_core.finetune.rollout import Rollout
from d2ppo_core.models.chain import ChainPolicy
from d2ppo_core.pretrain.batches import draw_shifts, shifted_images

_ROWS = 1024
"""Observations whose pictures are shifted, or whose chains are looked at, at once."""


def shift_pictures(rollout: Rollout, limit_px: int, generator: torch.Generator) -> Rollout:
    """The same with every picture shifted by up to `limit_px` per axis; without pictures or with 0 it is as it was."""
    if rollout.images is None or rollout.next_images is None or not limit_px:
        return rollout
    seen, ends = (_shifted(images, limit_px, generator) for images in (rollout.images, rollout.next_images))
    return replace(rollout, images=seen, next_images=ends)


@torch.no_grad()
def judge_again(rollout: Rollout, chain: ChainPolicy) -> Rollout:
    """The same with the likelihoods that `chain` gives to the drawn steps for the pictures as they are now."""
    device = next(chain.parameters()).device
    found = []
    for low in range(0, rollout.reward.size, _ROWS):
        rows = slice(low, low + _ROWS)
        state, links = (_flat(array)[rows].to(device) for array in (rollout.state, rollout.chain))
        images = None if rollout.images is None else _flat(rollout.images)[rows].to(device)
        count, steps = len(state), chain.num_steps
        row = torch.arange(count, device=device).repeat_interleave(steps)
        step = torch.arange(steps, device=device).repeat(count)
        condition = chain.condition(state, images)[row]
        found.append(chain.log_prob(condition, links[row, step], links[row, step + 1], step).reshape(count, steps))
    return replace(rollout, log_prob=torch.cat(found).cpu().numpy().reshape(rollout.log_prob.shape))


def _flat(array: NDArray[np.generic]) -> Tensor:
    """(C, N, ...) -> (C*N, ...)."""
    return torch.from_numpy(array).flatten(0, 1)


def _shifted(images: NDArray[np.uint8], limit_px: int, generator: torch.Generator) -> NDArray[np.uint8]:
    """Pictures (..., Ncam, H, W, 3), each by an offset of its own."""
    flat = torch.from_numpy(images.reshape(-1, *images.shape[-4:]))
    shifts = draw_shifts(len(flat), flat.shape[1], limit_px, generator)
    assert shifts is not None
    out = torch.empty_like(flat)
    for low in range(0, len(flat), _ROWS):
        rows = torch.arange(low, min(low + _ROWS, len(flat)))
        out[rows] = shifted_images(flat, rows, shifts[rows])
    found: NDArray[np.uint8] = out.numpy().reshape(images.shape)
    return found
