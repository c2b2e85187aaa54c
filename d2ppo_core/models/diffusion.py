"""Diffusion over action chunks: noising, the DDIM step, sampling.

The network predicts noise. A sampling step estimates x0 from it, clips x0 to [-1, 1] and **recomputes the noise
from the clipped x0** before moving on; eta = 0 makes the whole chain a function of the first noise.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from d2ppo_core.config.schema import CENTRED, LEADING, TRAILING
from d2ppo_core.models.mlp import Denoiser
from d2ppo_core.models.policy import ChunkPolicy
from d2ppo_core.models.schedule import DdimStep, cosine_alpha_bar, ddim_steps
from d2ppo_core.models.vit import ImageEncoder, StateEncoder

SAMPLERS = {
    LEADING: "ddim_eta0_clip_x0_recompute_eps",
    CENTRED: "ddim_centred_eta0_clip_x0_recompute_eps",
    TRAILING: "ddim_trailing_eta0_clip_x0_recompute_eps",
}
"""How manifests name the sampler, by its times."""


class StepMean(NamedTuple):
    """Gaussian of one denoising step: x_next ~ N(mean, sigma^2)."""

    mean: Tensor
    sigma: float


def into_range(x0: Tensor) -> Tensor:
    """Clipped to [-1, 1], where normalised actions lie."""
    return x0.clamp(-1, 1)


def ddim_mean(x: Tensor, eps: Tensor, step: DdimStep, clip: Callable[[Tensor], Tensor] = into_range) -> StepMean:
    """Mean of the next sample given the predicted noise; x and eps (B, Tp*Da); `clip` bounds the estimate of x0."""
    signal, noise = math.sqrt(step.alpha_bar), math.sqrt(1 - step.alpha_bar)
    x0 = clip((x - noise * eps) / signal)
    eps_clipped = (x - signal * x0) / noise
    return StepMean(math.sqrt(step.alpha_bar_next) * x0 + step.direction * eps_clipped, step.sigma)


class DiffusionPolicy(ChunkPolicy):
    """Observation encoder and denoiser with their noise schedule."""

    alpha_bar: Tensor

    def __init__(
        self,
        *,
        encoder: ImageEncoder | StateEncoder,
        denoiser: Denoiser,
        pred_horizon: int,
        action_dim: int,
        num_train_steps: int,
        num_denoising_steps: int,
        sampler_times: str,
    ) -> None:
        """Combine encoder and denoiser.

        Args:
            encoder: observation to the denoiser's condition, (B, condition_dim).
            denoiser: predicts the noise of chunks, (B, pred_horizon * action_dim).
            pred_horizon: actions in a chunk.
            action_dim: numbers in an action.
            num_train_steps: length T of the diffusion that it is trained on.
            num_denoising_steps: steps K of the sampler; divides T.
            sampler_times: ``trailing``, ``leading`` or ``centred``: which K of the T times the sampler visits.
        """
        super().__init__(encoder=encoder, pred_horizon=pred_horizon, action_dim=action_dim)
        self.denoiser = denoiser
        self.num_train_steps, self.sampler_times = num_train_steps, sampler_times
        self.steps = ddim_steps(num_train_steps, num_denoising_steps, spacing=sampler_times)
        self.base: DiffusionPolicy | None = None
        """After fine-tuning: the frozen origin, which still denoises from all times >= `tuned_below`."""
        self.tuned_below = num_train_steps
        self.register_buffer("alpha_bar", torch.from_numpy(cosine_alpha_bar(num_train_steps)).float(), persistent=False)

    @property
    def trunk(self) -> Denoiser:
        """The denoiser."""
        return self.denoiser

    def add_noise(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """x_t = sqrt(alpha_bar_t) x0 + sqrt(1 - alpha_bar_t) eps, for x0 and eps (B, Tp*Da), t (B,)."""
        alpha_bar = self.alpha_bar[t][:, None]
        return alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * eps

    def denoise_given(self, condition: Tensor) -> Callable[[Tensor, int], Tensor]:
        """Predicted noise (B, Tp*Da) as a function of sample (B, Tp*Da) and time, for conditions (B, C)."""
        return self.denoiser.collapse(self.num_train_steps).given(condition)

    def set_base(self, base: "DiffusionPolicy", tuned_below: int) -> None:
        """Leave the denoising from times >= `tuned_below` to a frozen policy."""
        self.base, self.tuned_below = base.requires_grad_(False).eval(), tuned_below

    @torch.no_grad()
    def sample_chain(self, state: Tensor, images: Tensor | None, noise: Tensor) -> Tensor:
        """Denoise and keep every sample on the way: (B, K + 1, Tp*Da), pure noise first, x0 last."""
        chain = [noise.flatten(1)]
        acting: DiffusionPolicy | None = None
        for step in self.steps:
            policy = self.base if self.base is not None and step.t >= self.tuned_below else self
            if policy is not acting:
                acting, denoise = policy, policy.denoise_given(policy.encode(state, images))
            chain.append(ddim_mean(chain[-1], denoise(chain[-1], step.t), step).mean)
        return torch.stack(chain, dim=1)

    def sample(self, state: Tensor, images: Tensor | None, noise: Tensor) -> Tensor:
        """Normalised actions (B, Tp, Da) in [-1, 1] from noise (B, Tp, Da); a function of its inputs."""
        return self.sample_chain(state, images, noise)[:, -1].reshape(noise.shape).clamp(-1, 1)
