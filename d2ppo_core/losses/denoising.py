"""Noise-prediction loss (Ho et al. 2020, simple objective)."""

from torch import Tensor


def denoising_loss(eps_predicted: Tensor, eps: Tensor) -> Tensor:
    """Mean squared error between predicted and drawn noise, both (B, Tp*Da); scalar >= 0, in float32.

    Raises ValueError when the shapes differ.
    """
    if eps_predicted.shape != eps.shape:
        raise ValueError(f"wanted equal shapes, got {tuple(eps_predicted.shape)} and {tuple(eps.shape)}")
    return (eps_predicted.float() - eps.float()).square().mean()
