"""Cosine noise schedule and the DDIM sub-sequence, computed in float64.

Source: Nichol & Dhariwal 2021 (schedule), Song et al. 2021 (DDIM).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_OFFSET = 0.008
_MAX_BETA = 0.999


def cosine_alpha_bar(num_train_steps: int) -> NDArray[np.float64]:
    """Return alpha_bar (T,): the share of signal variance left after step t, falling from about 1 to about 0."""

    def share(t: float) -> float:
        return math.cos((t / num_train_steps + _OFFSET) / (1 + _OFFSET) * math.pi / 2) ** 2

    betas = [min(1 - share(t + 1) / share(t), _MAX_BETA) for t in range(num_train_steps)]
    return np.asarray(np.cumprod(1 - np.asarray(betas)), dtype=np.float64)


@dataclass(frozen=True, kw_only=True)
class DdimStep:
    """One denoising step from training time t to the next earlier time of the sub-sequence."""

    t: int
    alpha_bar: float
    alpha_bar_next: float
    """1 after the last step: there the result is x0 itself."""
    sigma: float
    """Standard deviation of the noise that is added; 0 for eta = 0."""

    @property
    def direction(self) -> float:
        """Factor of the recomputed noise in the next sample."""
        return math.sqrt(max(1 - self.alpha_bar_next - self.sigma**2, 0.0))


def ddim_steps(num_train_steps: int, num_denoising_steps: int, eta: float = 0.0) -> tuple[DdimStep, ...]:
    """Return the K steps in the order of sampling, noisiest first; T must be a multiple of K.

    sigma^2 = eta^2 (1 - a') / (1 - a) (1 - a / a').
    """
    if num_denoising_steps < 1 or num_train_steps % num_denoising_steps:
        raise ValueError(f"wanted K >= 1 dividing T, got K={num_denoising_steps}, T={num_train_steps}")
    alpha_bar = cosine_alpha_bar(num_train_steps)
    stride = num_train_steps // num_denoising_steps
    steps = []
    for t in range(num_train_steps - stride, -1, -stride):
        now = float(alpha_bar[t])
        after = float(alpha_bar[t - stride]) if t >= stride else 1.0
        sigma = eta * math.sqrt((1 - after) / (1 - now) * (1 - now / after))
        steps.append(DdimStep(t=t, alpha_bar=now, alpha_bar_next=after, sigma=sigma))
    return tuple(steps)
