"""Dispersive losses push the features of a batch apart: InfoNCE without its positive term.

Source: Wang & He 2025 (arXiv 2506.09027) and D2PPO 2025 (arXiv 2508.02644). Distances come from the Gram matrix,
so cost and memory are O(B^2 + B D), and everything runs in at least float32, also under autocast.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def _features(z: Tensor) -> Tensor:
    if z.ndim != 2 or z.shape[0] < 2:
        raise ValueError(f"wanted features (B, D) with B >= 2, got {tuple(z.shape)}")
    return z if z.dtype == torch.float64 else z.float()


class _SquaredDistances(torch.autograd.Function):
    """(B, D) -> (B, B). With S = G + G^T of the incoming gradient G, the outgoing one is 2 (diag(S 1) - S) z."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        z = z - z.mean(0)  # distances don't change, rounding errors shrink
        ctx.save_for_backward(z)
        gram = z @ z.T
        norms = gram.diagonal().clone()
        distances = gram.mul_(-2).add_(norms[:, None]).add_(norms).clamp_min_(0)
        distances.diagonal().zero_()
        return distances

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        z: Tensor = ctx.saved_tensors[0]
        both = gradient + gradient.T
        both.diagonal().zero_()
        return torch.addmm(z * both.sum(1, keepdim=True), both, z, alpha=-1).mul_(2)


def squared_distances(z: Tensor, *, per_dimension: bool = True) -> Tensor:
    """d_ij = |z_i - z_j|^2 (divided by D when `per_dimension`) for z (B, D) -> (B, B), >= 0, zero diagonal.

    One product of matrices forwards and one backwards; first derivatives only.
    """
    distances: Tensor = _SquaredDistances.apply(z)  # type: ignore[no-untyped-call]
    return distances / z.shape[1] if per_dimension else distances


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


def hinge(z: Tensor, margin: float = 1.0, *, per_dimension: bool = True) -> Tensor:
    """mean_ij max(0, margin - d_ij)^2, d the squared distance per dimension; in [0, margin^2]."""
    with torch.autocast(z.device.type, enabled=False):
        distances = squared_distances(_features(z), per_dimension=per_dimension)
        return (margin - distances).clamp_min(0).square().mean()


def covariance(z: Tensor, *, diagonal: bool = False) -> Tensor:
    """Sum of the squared off-diagonal covariances of the features; >= 0, zero when they are uncorrelated.

    The published code adds the squared variances (`diagonal=True`), which pulls the features together.
    """
    with torch.autocast(z.device.type, enabled=False):
        z = _features(z)
        centred = z - z.mean(0)
        cov = centred.T @ centred / (len(z) - 1)
        total = cov.square().sum()
        return total if diagonal else total - cov.diagonal().square().sum()


def dispersive_loss(
    z: Tensor, variant: str, *, temperature: float = 0.5, margin: float = 1.0, official: bool = False
) -> Tensor:
    """Dispersive loss of features z (B, D) by name; a float32 scalar (float64 of float64 features).

    Args:
        z: Features, B >= 2.
        variant: `none` (a zero), `infonce_l2`, `infonce_cosine`, `hinge` or `covariance`.
        temperature: Of the InfoNCE variants.
        margin: Of the hinge.
        official: As the published code computes it: distances not divided by D, covariances with their diagonal.

    Raises:
        ValueError: unknown variant, or features of another shape.
    """
    if variant == "none":
        return torch.zeros((), dtype=torch.float32, device=z.device)
    if variant == "infonce_l2":
        return infonce_l2(z, temperature, per_dimension=not official)
    if variant == "infonce_cosine":
        return infonce_cosine(z, temperature)
    if variant == "hinge":
        return hinge(z, margin, per_dimension=not official)
    if variant == "covariance":
        return covariance(z, diagonal=official)
    raise ValueError(f"unknown dispersive loss {variant!r}")


@torch.no_grad()
def effective_rank(z: Tensor) -> float:
    """How many directions the features z (B, D) fill: exp of the entropy of their singular values' shares.

    Source: Roy & Vetterli 2007. From 1 (one direction, or all features equal) to min(B - 1, D).
    """
    z = _features(z).double()
    z = z - z.mean(0)
    # Eigenvalues of the smaller Gram matrix in float64: several times faster than the singular values in float32.
    gram = z @ z.T if len(z) <= z.shape[1] else z.T @ z
    spectrum = torch.linalg.eigvalsh(gram).clamp_min(0).sqrt()
    share = spectrum / spectrum.sum().clamp_min(1e-12)
    return float(torch.exp(-(share * share.clamp_min(1e-12).log()).sum()))


@torch.no_grad()
def dispersion(z: Tensor) -> tuple[float, float]:
    """Mean pairwise distance per root dimension, and effective rank, of z (B, D)."""
    return float(squared_distances(_features(z)).sqrt().mean()), effective_rank(z)
