"""Sampling with noise in every denoising step, as fine-tuning explores, for any K and without likelihoods."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from d2ppo_core.config.finetune import ChainConfig
from d2ppo_core.models.diffusion import DiffusionPolicy, ddim_mean
from d2ppo_core.models.gaussian import GaussianPolicy
from d2ppo_core.models.policy import ChunkPolicy
from d2ppo_core.models.schedule import ddim_steps


@dataclass(frozen=True, kw_only=True)
class Exploration:
    """How much noise; as it stands DDPM's, or for fewer steps DDIM's with eta = 1."""

    eta: float = 1.0
    min_std: float = 0.0
    """Standard deviation of a step never falls below this (normalised actions)."""
    noise_clip: float = float("inf")
    """Standard normal draws are limited to this magnitude."""

    @classmethod
    def of_chain(cls, chain: ChainConfig) -> Self:
        """As the chain that a run was fine-tuned with."""
        return cls(eta=chain.eta, min_std=chain.min_sampling_std, noise_clip=chain.noise_clip)


@torch.no_grad()
def explore(
    policy: ChunkPolicy, state: Tensor, images: Tensor | None, noise: Tensor, exploration: Exploration
) -> Tensor:
    """Normalised actions (N, Tp, Da) in [-1, 1] from noise (N, K + 1, Tp, Da), the first of it the chain's start.

    A Gaussian policy has no denoising steps, K = 0, and draws once around its mean.
    """
    x, *draws = noise.flatten(2).unbind(1)
    if isinstance(policy, GaussianPolicy):
        x = _around_the_mean(policy, state, images, x, exploration)
    else:
        assert isinstance(policy, DiffusionPolicy)
        x = _along_the_chain(policy, state, images, x, draws, exploration)
    return x.clamp(-1, 1).reshape(len(x), policy.pred_horizon, policy.action_dim)


def _around_the_mean(
    policy: GaussianPolicy, state: Tensor, images: Tensor | None, drawn: Tensor, exploration: Exploration
) -> Tensor:
    mean: Tensor = policy.mean(policy.encode(state, images))[0]
    std = policy.std.clamp_min(exploration.min_std)
    return mean + std * drawn.clamp(-exploration.noise_clip, exploration.noise_clip)


def _along_the_chain(
    policy: DiffusionPolicy,
    state: Tensor,
    images: Tensor | None,
    x: Tensor,
    draws: list[Tensor],
    exploration: Exploration,
) -> Tensor:
    acting: DiffusionPolicy | None = None
    steps = ddim_steps(policy.num_train_steps, len(draws), spacing=policy.sampler_times, eta=exploration.eta)
    for step, drawn in zip(steps, draws, strict=True):
        network = policy.base if policy.base is not None and step.t >= policy.tuned_below else policy
        if network is not acting:
            acting, condition, denoise = network, network.encode(state, images), network.denoiser.collapse()
        mean, sigma = ddim_mean(x, denoise(x, torch.tensor([step.t]), condition), step)
        drawn = drawn.clamp(-exploration.noise_clip, exploration.noise_clip)
        x = mean + max(sigma, exploration.min_std) * drawn
    return x
