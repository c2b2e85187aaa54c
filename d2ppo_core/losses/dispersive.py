"""Dispersive losses push the features of a batch apart: InfoNCE without its positive term.

Source: Wang & He 2025 (arXiv 2506.09027) and D2PPO 2025 (arXiv 2508.02644). Distances come from the Gram matrix,
so cost and memory are O(B^2 + B D), and everything runs in at least float32, also under autocast.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def _features(z: Tensor) -> Tensor:
    if z.ndim != 2 or z.shape[0] < 2:
        raise ValueError(f"wanted features (B, D) with B >= 2, got {tuple(z.shape)}")
    return z if z.dtype == torch.float64 else z.float()


def squared_distances(z: Tensor, *, per_dimension: bool = True) -> Tensor:
    """d_ij = |z_i - z_j|^2 (divided by D when `per_dimension`) for z (B, D) -> (B, B), >= 0, zero diagonal."""
    z = z - z.mean(0, keepdim=True).detach()  # distances don't change, rounding errors shrink
    if per_dimension:
        z = z / math.sqrt(z.shape[1])
    gram = z @ z.T
    norms = gram.diagonal()
    distances = (norms[:, None] + norms[None, :] - 2 * gram).clamp_min(0)
    return distances.masked_fill(torch.eye(len(z), dtype=torch.bool, device=z.device), 0)


def _log_mean_exp(logits: Tensor) -> Tensor:
    return logits.flatten().logsumexp(0) - math.log(logits.numel())


def infonce_l2(z: Tensor, temperature: float = 0.5, *, per_dimension: bool = True) -> Tensor:
    """Log mean_ij exp(-d_ij / temperature), d the squared distance per dimension; in [-log B, 0].

    Without the division by D (`per_dimension=False`, as published) ordinary features sit at the floor -log B,
    where the gradient is zero.
    """
    with torch.autocast(z.device.type, enabled=False):
        return _log_mean_exp(-squared_distances(_features(z), per_dimension=per_dimension) / temperature)


def infonce_cosine(z: Tensor, temperature: float = 0.5) -> Tensor:
    """Log mean_ij exp(cos(z_i, z_j) / temperature); at most 1 / temperature (all features parallel)."""
    with torch.autocast(z.device.type, enabled=False):
        unit = F.normalize(_features(z), dim=1)
        return _log_mean_exp(unit @ unit.T / temperature)


def hinge(z: Tensor, margin: float = 1.0) -> Tensor:
    """mean_ij max(0, margin - d_ij)^2, d the squared distance per dimension; in [0, margin^2]."""
    with torch.autocast(z.device.type, enabled=False):
        return (margin - squared_distances(_features(z))).clamp_min(0).square().mean()


def covariance(z: Tensor) -> Tensor:
    """Sum of the squared off-diagonal covariances of the features; >= 0, zero when they are uncorrelated."""
    with torch.autocast(z.device.type, enabled=False):
        centred = _features(z) - z.float().mean(0) if z.dtype != torch.float64 else z - z.mean(0)
        cov = centred.T @ centred / (len(z) - 1)
        return cov.square().sum() - cov.diagonal().square().sum()


def dispersive_loss(
    z: Tensor, variant: str, *, temperature: float = 0.5, margin: float = 1.0, per_dimension: bool = True
) -> Tensor:
    """Dispatch by name; `none` gives a zero. Raises ValueError for an unknown variant."""
    if variant == "none":
        return torch.zeros((), dtype=torch.float32, device=z.device)
    if variant == "infonce_l2":
        return infonce_l2(z, temperature, per_dimension=per_dimension)
    if variant == "infonce_cosine":
        return infonce_cosine(z, temperature)
    if variant == "hinge":
        return hinge(z, margin)
    if variant == "covariance":
        return covariance(z)
    raise ValueError(f"unknown dispersive loss {variant!r}")


@torch.no_grad()
def dispersion(z: Tensor) -> tuple[float, float]:
    """Mean pairwise distance per root dimension, and effective rank (exp of the spectrum's entropy), of z (B, D)."""
    z = _features(z)
    mean_distance = float(squared_distances(z).sqrt().mean())
    spectrum = torch.linalg.svdvals(z - z.mean(0))
    share = spectrum / spectrum.sum().clamp_min(1e-12)
    return mean_distance, float(torch.exp(-(share * share.clamp_min(1e-12).log()).sum()))
