"""What an ensemble of critics says of several chunks per observation.

Source: the off-policy recipe of OGPO (arXiv 2605.03065): the mean over critics, not the smallest; the mean over chunks
as baseline, without division by their spread; a step only where the critics agree.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class ChunkAdvantage(NamedTuple):
    """Both (B, N): N chunks of each of B observations."""

    advantage: Tensor
    """Mean over critics of what each says a chunk is better than the observation's average one."""
    agreed: Tensor
    """Whether all critics say better, or all say worse."""


def chunk_advantage(values: Tensor) -> ChunkAdvantage:
    """Advantages from values (E, B, N). Raises ValueError for another number of dimensions."""
    if values.ndim != 3:
        raise ValueError(f"wanted values (E, B, N), got {tuple(values.shape)}")
    each = values - values.mean(dim=2, keepdim=True)
    return ChunkAdvantage(each.mean(dim=0), (each > 0).all(dim=0) | (each < 0).all(dim=0))


def critics_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of values sigmoid(logits) (E, B) to targets (B,) in [0, 1], summed over critics, mean over rows.

    Raises ValueError when the shapes do not belong together.
    """
    if logits.ndim != 2 or logits.shape[1:] != target.shape:
        raise ValueError(f"wanted (E, B) and (B,), got {tuple(logits.shape)} and {tuple(target.shape)}")
    return F.binary_cross_entropy_with_logits(logits, target.expand_as(logits), reduction="none").mean(dim=1).sum()


def scaled(advantage: Tensor) -> Tensor:
    """Divided by the root of the mean square over all; 0 where all are 0."""
    return advantage / (advantage.square().mean().sqrt() + 1e-8)


def explained(target: Tensor, value: Tensor) -> float:
    """Share of the targets' variance that was foreseen; NaN for fewer than two."""
    if len(target) < 2:
        return float("nan")
    return 1 - float((target - value).var() / target.var().clamp_min(torch.finfo(target.dtype).eps))
