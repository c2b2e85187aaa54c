"""Minibatches over (observation, denoising step) pairs."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from d2ppo_core.config.finetune import PpoConfig


@dataclass(frozen=True, kw_only=True)
class Minibatch:
    """O observations and P pairs of them with denoising steps."""

    obs: Tensor
    """(O,) indices of distinct observations: each is encoded once."""
    row: Tensor
    """(P,) which of these each pair belongs to."""
    step: Tensor
    """(P,) denoising step 0 ... K'-1."""
    weight: Tensor
    """(P,) correction for uneven drawing; 1 where all steps are taken."""
    value_obs: Tensor
    """(V,) observations whose value is learned in this minibatch."""

    @property
    def pair_obs(self) -> Tensor:
        """(P,) index of each pair's observation."""
        return self.obs[self.row]

    def to(self, device: torch.device) -> "Minibatch":
        """The same on a device."""
        obs, value_obs = self.obs.to(device), self.value_obs.to(device)
        row, step, weight = self.row.to(device), self.step.to(device), self.weight.to(device)
        return Minibatch(obs=obs, row=row, step=step, weight=weight, value_obs=value_obs)

    def split(self, pairs: int) -> Iterator[tuple["Minibatch", slice]]:
        """Parts of at most about `pairs` pairs (0: one part) and where their pairs lie; rows must be in order."""
        per_obs = len(self.row) // len(self.obs)
        size = max(1, pairs // per_obs) if pairs else len(self.obs)
        for low in range(0, len(self.obs), size):
            obs = self.obs[low : low + size]
            where = slice(low * per_obs, (low + len(obs)) * per_obs)
            part = Minibatch(
                obs=obs, row=self.row[where] - low, step=self.step[where], weight=self.weight[where], value_obs=obs
            )
            yield part, where


def step_probability(num_steps: int, gamma: float) -> Tensor:
    """(K',) probability of drawing each step: proportional to its denoising discount, which scales its gradient."""
    discount = gamma ** torch.arange(num_steps - 1, -1, -1, dtype=torch.float64)
    return discount / discount.sum()


def minibatches(num_obs: int, num_steps: int, config: PpoConfig, generator: torch.Generator) -> Iterator[Minibatch]:
    """One epoch: every pair once, or `steps_per_observation` drawn pairs of every observation.

    Args:
        num_obs: Observations of the rollout.
        num_steps: K'.
        config: Size and grouping.
        generator: Decides order and draws.
    """
    per_obs = min(config.steps_per_observation or num_steps, num_steps)
    steps = torch.arange(num_steps).expand(num_obs, num_steps)
    weight = torch.ones(num_steps)
    if per_obs < num_steps:
        probability = step_probability(num_steps, config.gamma_denoising)
        steps = torch.multinomial(probability.expand(num_obs, -1), per_obs, replacement=True, generator=generator)
        weight = (1 / (num_steps * probability)).float()
    if config.grouping == "observations":
        for obs in _shares(torch.randperm(num_obs, generator=generator), max(1, config.minibatch_pairs // per_obs)):
            row = torch.arange(len(obs)).repeat_interleave(per_obs)
            step = steps[obs].flatten()
            yield Minibatch(obs=obs, row=row, step=step, weight=weight[step], value_obs=obs)
        return
    drawn = _shares(torch.randperm(num_obs * per_obs, generator=generator), config.minibatch_pairs)
    own = torch.randperm(num_obs, generator=generator).tensor_split(len(drawn))
    for pairs, valued in zip(drawn, own, strict=True):
        obs, row = torch.unique(pairs // per_obs, return_inverse=True)
        step = steps.flatten()[pairs]
        value_obs = obs if config.critic_batches == "shared" else valued
        yield Minibatch(obs=obs, row=row, step=step, weight=weight[step], value_obs=value_obs)


def _shares(order: Tensor, size: int) -> tuple[Tensor, ...]:
    """Cut into nearly equal parts of at most `size`: a small rest would weigh as much as a whole minibatch."""
    return order.tensor_split(math.ceil(len(order) / size))
