"""The baseline without diffusion: one Gaussian over the chunk, its mean by the denoiser's trunk.

Its trunk sees the condition only, neither a noisy chunk nor a time step. As a `ChainPolicy` it is a chain of one step,
so the same PPO update fine-tunes it. The standard deviation does not depend on the observation.
"""

import math

import torch
from torch import Tensor, nn

from d2ppo_core.config.finetune import ChainConfig
from d2ppo_core.config.schema import GaussianConfig
from d2ppo_core.losses.gaussian import negative_log_likelihood
from d2ppo_core.models.chain import ChainPolicy, ChainSample, gaussian_log_prob
from d2ppo_core.models.mish import mish
from d2ppo_core.models.policy import ChunkPolicy
from d2ppo_core.models.vit import ImageEncoder, StateEncoder

SAMPLER = "gaussian_mean_clip"


class MeanNetwork(nn.Module):
    """condition -> Linear -> one pre-activation residual block -> Linear -> tanh; names as in `Denoiser`."""

    def __init__(self, *, chunk_dim: int, condition_dim: int, hidden_dim: int) -> None:
        """Initialise the layers: (B, condition_dim) in, (B, chunk_dim) out."""
        super().__init__()
        self.chunk_dim, self.condition_dim, self.hidden_dim = chunk_dim, condition_dim, hidden_dim
        self.input = nn.Linear(condition_dim, hidden_dim)
        self.residual_in = nn.Linear(hidden_dim, hidden_dim)
        self.residual_out = nn.Linear(hidden_dim, hidden_dim)
        self.output = nn.Linear(hidden_dim, chunk_dim)

    def forward(self, condition: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Condition (B, C) -> mean (B, Tp*Da) in (-1, 1) and the taps (B, hidden_dim)."""
        early = self.input(condition)
        mid = self.residual_in(mish(early))
        late = early + self.residual_out(mish(mid))
        return self.output(late).tanh(), {"early": early, "mid": mid, "late": late}


class GaussianPolicy(ChunkPolicy):
    """Observation encoder and mean network, with a standard deviation per entry of the chunk."""

    fixed_std: Tensor

    def __init__(
        self,
        *,
        encoder: ImageEncoder | StateEncoder,
        mean: MeanNetwork,
        pred_horizon: int,
        action_dim: int,
        config: GaussianConfig,
    ) -> None:
        """Combine encoder and mean; the standard deviation begins at `config.std`, learnt in its bounds or fixed."""
        super().__init__(encoder=encoder, pred_horizon=pred_horizon, action_dim=action_dim)
        self.mean, self.config = mean, config
        if config.learn_std:
            share = math.log(config.std / config.std_min) / math.log(config.std_max / config.std_min)
            self.raw_std = nn.Parameter(torch.full((mean.chunk_dim,), math.log(share / (1 - share))))
        else:
            self.register_buffer("fixed_std", torch.full((mean.chunk_dim,), config.std), persistent=False)

    @property
    def trunk(self) -> MeanNetwork:
        """The mean network."""
        return self.mean

    @property
    def std(self) -> Tensor:
        """(Tp*Da,); a learned one lies between its bounds, evenly in its logarithm, and never loses its gradient."""
        if not self.config.learn_std:
            return self.fixed_std
        low, high = math.log(self.config.std_min), math.log(self.config.std_max)
        return (low + (high - low) * self.raw_std.sigmoid()).exp()

    def errors(self, mean: Tensor, chunks: Tensor) -> Tensor:
        """What cloning descends on, per entry (B, Tp*Da): squared errors, or -log density where std is learned."""
        if self.config.learn_std:
            return negative_log_likelihood(mean, self.std, chunks)
        return (mean.float() - chunks.float()).square()

    @torch.no_grad()
    def sample(self, state: Tensor, images: Tensor | None, noise: Tensor) -> Tensor:
        """The mean: noise (B, Tp, Da) lends its shape only."""
        mean: Tensor = self.mean(self.encode(state, images))[0]
        return mean.reshape(noise.shape).clamp(-1, 1)


class GaussianChain(ChainPolicy):
    """A Gaussian policy as a chain of one step; what comes before that step is all zeros and means nothing."""

    policy: GaussianPolicy

    def __init__(self, policy: GaussianPolicy, config: ChainConfig, *, action_horizon: int) -> None:
        """Take over `policy` as the one to be fine-tuned.

        Args:
            policy: Pre-trained; its weights are the actor's from now on.
            config: Noise floors and limit; its numbers of steps belong to diffusion policies.
            action_horizon: Only this many actions of a chunk are executed, and only they have a likelihood.
        """
        super().__init__()
        self.policy, self.config, self.num_steps = policy, config, 1
        self.likelihood_dims = action_horizon * policy.action_dim

    @torch.no_grad()
    def sample(
        self, state: Tensor, images: Tensor | None, generator: torch.Generator, *, chains: int = 1
    ) -> ChainSample:
        """As `ChainPolicy.sample`: chunks around the mean."""
        policy, config = self.policy, self.config
        mean, _ = policy.mean(self.condition(state, images))
        mean = mean if chains == 1 else mean.repeat_interleave(chains, dim=0)
        drawn = torch.randn(mean.shape, generator=generator, device=generator.device).to(mean.device)
        std = policy.std.clamp_min(config.min_sampling_std)
        x = mean + std * drawn.clamp(-config.noise_clip, config.noise_clip)
        chain = torch.stack([torch.zeros_like(x), x], dim=1)
        actions = x.clamp(-1, 1).reshape(len(x), policy.pred_horizon, policy.action_dim)
        return ChainSample(actions=actions, chain=chain, log_prob=self._log_prob(mean, x)[:, None])

    def log_prob(self, condition: Tensor, x: Tensor, x_next: Tensor, step: Tensor) -> Tensor:
        """As `ChainPolicy.log_prob`; x and step have no part in it."""
        return self._log_prob(self.policy.mean(condition)[0], x_next)

    def cloning_errors(self, condition: Tensor, chunks: Tensor, generator: torch.Generator) -> Tensor:
        """As `ChainPolicy.cloning_errors`; nothing is random."""
        errors = self.policy.errors(self.policy.mean(condition)[0], chunks)
        return errors[:, : self.likelihood_dims].mean(-1)

    def _log_prob(self, mean: Tensor, x: Tensor) -> Tensor:
        dims = self.likelihood_dims
        return gaussian_log_prob(x, mean, self.policy.std[:dims].clamp_min(self.config.min_log_prob_std), dims)
