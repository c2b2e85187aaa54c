"""The inner MDP: each denoising step is an action with a Gaussian likelihood.

Step k of K takes the sample x_k to x_{k+1} ~ N(mean(x_k), std_k^2), the mean being the DDIM one with eta = 1 (which
for K = T is DDPM's posterior mean). The first K - K' steps, the noisiest, belong to the frozen pre-trained network;
the last K' are fine-tuned and have likelihoods. Source: DPPO (Ren et al. 2024, arXiv 2409.00588), section 4.
"""

import copy
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from d2ppo_core.config.finetune import ChainConfig
from d2ppo_core.models.diffusion import DiffusionPolicy, ddim_mean
from d2ppo_core.models.policy import ChunkPolicy
from d2ppo_core.models.schedule import ddim_steps, tuned_below

_LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)


@dataclass(frozen=True, kw_only=True)
class ChainSample:
    """A batch of sampled chunks and the part of their chains that has likelihoods."""

    actions: Tensor
    """(N, Tp, Da) normalised, clipped to [-1, 1]: what is executed."""
    chain: Tensor
    """(N, K' + 1, Tp*Da) samples before, between and after the fine-tuned steps; the last one is not clipped."""
    log_prob: Tensor
    """(N, K') of the policy that drew them."""


class _StepTable(NamedTuple):
    """Coefficients of the fine-tuned steps, (K', 1) each."""

    signal: Tensor
    noise: Tensor
    signal_next: Tensor
    direction: Tensor
    std: Tensor


def gaussian_log_prob(x: Tensor, mean: Tensor, std: Tensor, dims: int) -> Tensor:
    """Mean over the first `dims` entries of log N(x; mean, std^2), each clamped to [-5, 2] as in DPPO.

    x and mean (P, D), std (P, 1) -> (P,).
    """
    z = (x[:, :dims] - mean[:, :dims]) / std
    return (-0.5 * z.square() - std.log() - _LOG_SQRT_2PI).clamp(-5, 2).mean(-1)


def _each(condition: Tensor, chains: int) -> Tensor:
    """Conditions (N, C), each as often as it is answered: (N * chains, C)."""
    return condition if chains == 1 else condition.repeat_interleave(chains, dim=0)


class ChainPolicy(nn.Module, ABC):
    """A policy whose chunks come with the chain of Gaussian steps that made them."""

    policy: ChunkPolicy
    """What learns and is deployed."""
    num_steps: int
    """Steps with a likelihood, K'."""
    half_encoder: bool = False
    """Encode observations in bfloat16."""

    def condition(self, state: Tensor, images: Tensor | None) -> Tensor:
        """(N, Ds) and images or None -> (N, C): what all log-probs of an observation share."""
        return self.policy.encode_in(state, images, half=self.half_encoder)

    @abstractmethod
    def sample(
        self, state: Tensor, images: Tensor | None, generator: torch.Generator, *, chains: int = 1
    ) -> ChainSample:
        """Draw `chains` chunks for each of N observations, in their order: N * chains rows; no gradient."""

    @abstractmethod
    def log_prob(self, condition: Tensor, x: Tensor, x_next: Tensor, step: Tensor) -> Tensor:
        """Log-likelihood of given steps under the present weights.

        condition (P, C), x and x_next (P, D), step (P,) in 0 ... K'-1 (0 is the first) -> (P,).
        """

    @abstractmethod
    def cloning_errors(self, condition: Tensor, chunks: Tensor, generator: torch.Generator) -> Tensor:
        """Errors of cloning normalised chunks, executed actions only: condition (P, C), chunks (P, D) -> (P,)."""

    def complete(self, policy: ChunkPolicy) -> None:  # noqa: B027
        """Give a copy of the policy what it needs besides its own weights; nothing, unless a subclass says so."""


class DiffusionChain(ChainPolicy):
    """A diffusion policy as a stochastic policy over denoising steps, with its frozen origin for the noisiest ones."""

    policy: DiffusionPolicy
    table: Tensor
    times: Tensor

    def __init__(self, policy: DiffusionPolicy, config: ChainConfig, *, action_horizon: int) -> None:
        """Take over `policy` as the one to be fine-tuned and keep a frozen copy where K' < K.

        Args:
            policy: Pre-trained; its weights are the actor's from now on.
            config: K, K', noise floors.
            action_horizon: Only this many actions of a chunk are executed, and only they have a likelihood.

        Raises:
            ValueError: the chain's times are not those that the policy is deployed with.
        """
        super().__init__()
        if config.sampler_times not in ("", policy.sampler_times):
            raise ValueError(f"wanted {policy.sampler_times} times as the policy has, got {config.sampler_times}")
        self.policy, self.config = policy, config
        self.num_steps = config.finetuned_steps
        self.likelihood_dims = action_horizon * policy.action_dim
        self.steps = ddim_steps(
            policy.num_train_steps,
            config.num_denoising_steps,
            spacing=policy.sampler_times,
            eta=config.eta,
        )
        self.frozen_steps = config.num_denoising_steps - config.finetuned_steps
        self.base = copy.deepcopy(policy).requires_grad_(False).eval() if self.frozen_steps else None
        tuned = self.steps[self.frozen_steps :]
        columns = [
            [math.sqrt(s.alpha_bar), math.sqrt(1 - s.alpha_bar), math.sqrt(s.alpha_bar_next), s.direction,
             max(s.sigma, config.min_log_prob_std)]
            for s in tuned
        ]  # fmt: skip
        self.register_buffer("table", torch.tensor(columns), persistent=False)
        self.register_buffer("times", torch.tensor([s.t for s in tuned]), persistent=False)

    @torch.no_grad()
    def sample(
        self, state: Tensor, images: Tensor | None, generator: torch.Generator, *, chains: int = 1
    ) -> ChainSample:
        """As `ChainPolicy.sample`; each observation is encoded once by each network."""
        policy, config, count = self.policy, self.config, len(state) * chains
        width = policy.pred_horizon * policy.action_dim
        noise = torch.randn(len(self.steps) + 1, count, width, generator=generator, device=generator.device)
        noise = noise.to(state.device)
        x, kicks = noise[0], noise[1:].clamp(-config.noise_clip, config.noise_clip)
        if self.base is not None:
            seen = self.base.encode_in(state, images, half=self.half_encoder)
            denoise = self.base.denoise_given(_each(seen, chains))
            for step, kick in zip(self.steps[: self.frozen_steps], kicks, strict=False):
                mean, sigma = ddim_mean(x, denoise(x, step.t), step)
                x = torch.add(mean, kick, alpha=max(sigma, config.min_sampling_std))
        denoise = policy.denoise_given(_each(self.condition(state, images), chains))
        chain, means = [x], []
        for step, kick in zip(self.steps[self.frozen_steps :], kicks[self.frozen_steps :], strict=True):
            mean, sigma = ddim_mean(x, denoise(x, step.t), step)
            x = torch.add(mean, kick, alpha=max(sigma, config.min_sampling_std))
            chain.append(x)
            means.append(mean)
        links, stds = torch.stack(chain, 1), self.table[:, 4:].repeat(count, 1)
        drawn = links[:, 1:].flatten(0, 1)
        log_prob = gaussian_log_prob(drawn, torch.stack(means, 1).flatten(0, 1), stds, self.likelihood_dims)
        actions = x.clamp(-1, 1).reshape(count, policy.pred_horizon, policy.action_dim)
        return ChainSample(actions=actions, chain=links, log_prob=log_prob.reshape(count, -1))

    def complete(self, policy: ChunkPolicy) -> None:
        """Let the frozen origin denoise the noisiest steps. Raises TypeError when `policy` is no diffusion policy."""
        if not isinstance(policy, DiffusionPolicy):
            raise TypeError(f"wanted a DiffusionPolicy, got {type(policy).__name__}")
        if self.base is not None:
            policy.set_base(self.base, tuned_below=self._tuned_below)

    @property
    def _tuned_below(self) -> int:
        return tuned_below(self.policy.num_train_steps, len(self.steps), self.num_steps)

    def log_prob(self, condition: Tensor, x: Tensor, x_next: Tensor, step: Tensor) -> Tensor:
        """As `ChainPolicy.log_prob`; step 0 is the noisiest fine-tuned one."""
        coefficients = _StepTable(*self.table[step].unsqueeze(-1).unbind(1))
        eps = self.policy.denoiser.collapse(self.policy.num_train_steps)(x, self.times[step], condition)
        x0 = ((x - coefficients.noise * eps) / coefficients.signal).clamp(-1, 1)
        eps = (x - coefficients.signal * x0) / coefficients.noise
        mean = coefficients.signal_next * x0 + coefficients.direction * eps
        return gaussian_log_prob(x_next, mean, coefficients.std, self.likelihood_dims)

    def cloning_errors(self, condition: Tensor, chunks: Tensor, generator: torch.Generator) -> Tensor:
        """As `ChainPolicy.cloning_errors`: of predicting the noise at a drawn time that is fine-tuned."""
        policy, device = self.policy, generator.device
        t = torch.randint(self._tuned_below, (len(chunks),), generator=generator, device=device).to(chunks.device)
        eps = torch.randn(chunks.shape, generator=generator, device=device).to(chunks.device)
        predicted = policy.denoiser.collapse(policy.num_train_steps)(policy.add_noise(chunks, eps, t), t, condition)
        return (predicted - eps)[:, : self.likelihood_dims].square().mean(-1)
