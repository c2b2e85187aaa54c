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

from d2ppo_core.config.schema import BATCH_MAX, DISPERSIVE_FORMS, PUBLISHED, RAW, SCALE_FREE

SMALLEST_RMS = 1e-5
"""Of centred features: rounding of float32 is far below, what a network makes of look-alikes far above."""


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


def scale_free(z: Tensor, groups: Tensor | None = None) -> Tensor:
    """Features (B, D) centred over the batch and divided by the batch's one RMS: c = z - mean, c / RMS(c).

    What is made of them can change neither with the scale of the features, which would be the cheapest way apart, nor
    with a common offset; with `groups` (B,) the mean of each group is taken off, and its offset is free too. Features
    that are all equal become zeros: below an RMS of `SMALLEST_RMS` differences are no longer enlarged.
    """
    centred = z - z.mean(0) if groups is None else z - _group_means(z, groups)
    return centred / (centred.square().mean() + SMALLEST_RMS**2).sqrt()


def _group_means(z: Tensor, groups: Tensor) -> Tensor:
    """(B, D) for every feature the mean of those in its group."""
    same = (groups[:, None] == groups).to(z.dtype)
    return same @ z / same.sum(1, keepdim=True)


def _log_mean_exp(logits: Tensor, pairs: Tensor | None) -> Tensor:
    if pairs is None:
        return logits.flatten().logsumexp(0) - math.log(logits.numel())
    return logits.masked_fill(~pairs, -math.inf).flatten().logsumexp(0) - pairs.sum().to(logits.dtype).log()


def _mean(values: Tensor, pairs: Tensor | None) -> Tensor:
    return values.mean() if pairs is None else values.masked_fill(~pairs, 0).sum() / pairs.sum()


def infonce(distances: Tensor, temperature: float = 0.5, pairs: Tensor | None = None) -> Tensor:
    """Log mean_ij exp(-d_ij / temperature) over all pairs, or those of `pairs` (B, B); in [-log B, 0].

    Distances that are not divided by D, as published, put ordinary features at the floor -log B, where the gradient is
    zero.
    """
    return _log_mean_exp(-distances / temperature, pairs)


def infonce_cosine(z: Tensor, temperature: float = 0.5, pairs: Tensor | None = None) -> Tensor:
    """Log mean_ij exp(cos(z_i, z_j) / temperature); at most 1 / temperature (all features parallel)."""
    unit = F.normalize(z, dim=1)
    return _log_mean_exp(unit @ unit.T / temperature, pairs)


def hinge(distances: Tensor, margin: float = 1.0, pairs: Tensor | None = None) -> Tensor:
    """mean_ij max(0, margin - d_ij)^2; in [0, margin^2]."""
    return _mean((margin - distances).clamp_min(0).square(), pairs)


def covariance(z: Tensor, *, diagonal: bool = False) -> Tensor:
    """Sum of the squared off-diagonal covariances of the features; >= 0, zero when they are uncorrelated.

    The published code adds the squared variances (`diagonal=True`), which pulls the features together.
    """
    centred = z - z.mean(0)
    cov = centred.T @ centred / (len(z) - 1)
    total = cov.square().sum()
    return total if diagonal else total - cov.diagonal().square().sum()


def dispersive_loss(
    z: Tensor,
    variant: str,
    *,
    form: str = SCALE_FREE,
    groups: Tensor | None = None,
    temperature: float = 0.5,
    margin: float = 1.0,
) -> Tensor:
    """Dispersive loss of features z (B, D) by name; a float32 scalar (float64 of float64 features).

    Args:
        z: Features, B >= 2.
        variant: `none` (a zero), `infonce_l2`, `infonce_cosine`, `hinge` or `covariance`.
        form: What the variant is taken of. `scale_free`: features as that function makes them, distances per dimension;
            `batch_max`: distances divided by their largest (MP1); `raw`: features as they are, distances per dimension;
            `published`: as they are, not per dimension, covariances with their diagonal.
        groups: (B,) only pairs of equal entries count; None: all pairs, each feature with itself among them.
        temperature: Of the InfoNCE variants.
        margin: Of the hinge.

    Raises:
        ValueError: unknown variant or form, or features of another shape.
    """
    if form not in DISPERSIVE_FORMS:
        raise ValueError(f"unknown form {form!r} of a dispersive loss")
    if variant == "none":
        return torch.zeros((), dtype=torch.float32, device=z.device)
    with torch.autocast(z.device.type, enabled=False):
        z = _features(z)
        pairs = None if groups is None else groups[:, None] == groups
        if form == SCALE_FREE:
            z = scale_free(z, groups)
        if variant == "infonce_cosine":
            return infonce_cosine(z, temperature, pairs)
        if variant == "covariance":
            return covariance(z, diagonal=form == PUBLISHED)
        distances = squared_distances(z, per_dimension=form in (SCALE_FREE, RAW))
        if form == BATCH_MAX:
            distances = distances / _largest(distances, pairs)
        if variant == "infonce_l2":
            return infonce(distances, temperature, pairs)
        if variant == "hinge":
            return hinge(distances, margin, pairs)
    raise ValueError(f"unknown dispersive loss {variant!r}")


def _largest(distances: Tensor, pairs: Tensor | None) -> Tensor:
    """Of the pairs that count; its gradient takes part, as in MP1's training code, so that scale is no way apart."""
    among = distances if pairs is None else distances.masked_fill(~pairs, 0)
    return among.max() + torch.finfo(distances.dtype).tiny


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
