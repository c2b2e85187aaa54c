"""Likelihood of chunks under a Gaussian policy with independent entries."""

import math

from torch import Tensor

_LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)


def negative_log_likelihood(mean: Tensor, std: Tensor, target: Tensor) -> Tensor:
    """-log N(target; mean, std^2) per entry: 0.5 ((target - mean) / std)^2 + log std + 0.5 log 2 pi.

    Args:
        mean: (B, D).
        std: (D,) > 0.
        target: (B, D).

    Returns:
        (B, D) in float32; negative where the density exceeds 1.

    Raises:
        ValueError: the shapes do not fit.
    """
    if mean.shape != target.shape or std.shape != mean.shape[1:]:
        raise ValueError(
            f"wanted mean and target (B, D) and std (D,), got {tuple(mean.shape)}, {tuple(target.shape)} and "
            f"{tuple(std.shape)}"
        )
    z = (target.float() - mean.float()) / std
    return 0.5 * z.square() + std.log() + _LOG_SQRT_2PI
