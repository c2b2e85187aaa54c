"""Cosine noise schedule and the DDIM sub-sequence, computed in float64.

Source: Nichol & Dhariwal 2021 (schedule), Song et al. 2021 (DDIM), Lin et al. 2024 (arXiv 2305.08891: trailing times).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from d2ppo_core.config.schema import CENTRED, LEADING, SAMPLER_TIMES, TRAILING

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


def denoising_times(num_train_steps: int, num_denoising_steps: int, spacing: str) -> tuple[int, ...]:
    """Return the K training times at which a chain denoises, noisiest first; T must be a multiple of K.

    `trailing` begins where the forward process ended, at T - 1, as pure noise wants it; `leading` at T - T/K and ends
    at 0; `centred` lies between them. With K = T each is all times. Everything that denoises takes its times from here.
    """
    if num_denoising_steps < 1 or num_train_steps % num_denoising_steps:
        raise ValueError(f"wanted K >= 1 dividing T, got K={num_denoising_steps}, T={num_train_steps}")
    if spacing not in SAMPLER_TIMES:
        raise ValueError(f"wanted {' or '.join(SAMPLER_TIMES)} times, got {spacing!r}")
    stride = num_train_steps // num_denoising_steps
    last = {LEADING: 0, CENTRED: (stride - 1) // 2, TRAILING: stride - 1}[spacing]
    return tuple(range(num_train_steps - stride + last, -1, -stride))


def tuned_below(num_train_steps: int, num_denoising_steps: int, finetuned_steps: int) -> int:
    """The time below which the last K' of K steps lie, and none of the noisier ones, with any spacing."""
    return num_train_steps // num_denoising_steps * finetuned_steps


def ddim_steps(
    num_train_steps: int, num_denoising_steps: int, *, spacing: str, eta: float = 0.0
) -> tuple[DdimStep, ...]:
    """Return the K steps in the order of sampling, at the times of `denoising_times`.

    sigma^2 = eta^2 (1 - a') / (1 - a) (1 - a / a').
    """
    times = denoising_times(num_train_steps, num_denoising_steps, spacing)
    alpha_bar = cosine_alpha_bar(num_train_steps)
    stride = num_train_steps // num_denoising_steps
    steps = []
    for t in times:
        now = float(alpha_bar[t])
        after = float(alpha_bar[t - stride]) if t >= stride else 1.0
        sigma = eta * math.sqrt((1 - after) / (1 - now) * (1 - now / after))
        steps.append(DdimStep(t=t, alpha_bar=now, alpha_bar_next=after, sigma=sigma))
    return tuple(steps)
