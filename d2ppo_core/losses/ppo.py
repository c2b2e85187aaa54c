"""PPO over the two-layer MDP: one importance ratio per (environment step, denoising step).

Source: Schulman et al. 2017 (clipped objective); Ren et al. 2024, arXiv 2409.00588 (denoising discount, clip schedule).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor


class PpoLoss(NamedTuple):
    """Scalars; only `policy` carries a gradient."""

    policy: Tensor
    approx_kl: Tensor
    """mean((r - 1) - log r), >= 0 in expectation."""
    clip_fraction: Tensor
    ratio: Tensor
    """Mean importance ratio."""


def clip_schedule(num_steps: int, *, low: float, high: float, rate: float = 3.0) -> Tensor:
    """Clip range per fine-tuned denoising step, (K',): from `low` at the noisiest to `high` at the last.

    eps(u) = low + (high - low) (e^{rate u} - 1) / (e^rate - 1), u = k / (K' - 1); a single step gets `high`.
    """
    if num_steps == 1:
        return torch.tensor([high])
    u = torch.linspace(0, 1, num_steps)
    return low + (high - low) * torch.expm1(rate * u) / math.expm1(rate)


def denoising_discount(num_steps: int, gamma: float) -> Tensor:
    """gamma^(steps left) per fine-tuned denoising step, (K',); 1 for the last."""
    return gamma ** torch.arange(num_steps - 1, -1, -1)


def normalized(advantage: Tensor) -> Tensor:
    """Advantages (P,) of a minibatch with mean 0 and standard deviation 1; 0 where all are equal, or there is one."""
    spread = advantage.std(correction=min(1, len(advantage) - 1))
    return (advantage - advantage.mean()) / (spread + 1e-8)


def ppo_loss(log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor, clip: Tensor, weight: Tensor) -> PpoLoss:
    """Clipped surrogate, to be minimised.

    Args:
        log_prob: (P,) under the present weights.
        old_log_prob: (P,) under the weights that acted.
        advantage: (P,) normalised, discounted over the denoising steps.
        clip: (P,) range of the ratio on either side of 1.
        weight: (P,) mean 1 in expectation; corrects for pairs that were drawn unevenly.

    Raises:
        ValueError: the shapes differ.
    """
    if len({x.shape for x in (log_prob, old_log_prob, advantage, clip, weight)}) != 1:
        raise ValueError(f"wanted equal shapes, got {[tuple(x.shape) for x in (log_prob, advantage, clip, weight)]}")
    log_ratio = log_prob - old_log_prob
    ratio = log_ratio.exp()
    clipped = torch.maximum(torch.minimum(ratio, 1 + clip), 1 - clip)
    policy = (weight * torch.maximum(-advantage * ratio, -advantage * clipped)).mean()
    with torch.no_grad():
        approx_kl = (ratio - 1 - log_ratio).mean()
        clip_fraction = ((ratio - 1).abs() > clip).float().mean()
    return PpoLoss(policy, approx_kl, clip_fraction, ratio.detach().mean())


def value_loss(value: Tensor, target: Tensor) -> Tensor:
    """Half the mean squared error of values (O,) against returns (O,)."""
    if value.shape != target.shape:
        raise ValueError(f"wanted equal shapes, got {tuple(value.shape)} and {tuple(target.shape)}")
    return 0.5 * (value - target).square().mean()
