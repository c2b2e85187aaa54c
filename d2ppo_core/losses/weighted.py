"""Weights of reward-weighted and advantage-weighted regression.

Source: Peters & Schaal 2007 (reward-weighted), Peng et al. 2019 (advantage-weighted); with diffusion policies as DRWR
and DAWR in Ren et al. 2024, arXiv 2409.00588, appendix.
"""

import math

from torch import Tensor


def regression_weight(score: Tensor, *, beta: float, max_weight: float) -> Tensor:
    """min(exp(beta score), max_weight), (P,), >= 0; without overflow.

    Args:
        score: (P,) returns or advantages, normalised.
        beta: Inverse temperature > 0: the larger, the fewer chunks are learned from.
        max_weight: Limit > 0.
    """
    return (beta * score).clamp_max(math.log(max_weight)).exp()


def weighted_loss(errors: Tensor, weight: Tensor) -> Tensor:
    """mean(weight * errors) for errors and weights (P,). Raises ValueError when the shapes differ."""
    if errors.shape != weight.shape:
        raise ValueError(f"wanted equal shapes, got {tuple(errors.shape)} and {tuple(weight.shape)}")
    return (weight * errors).mean()
