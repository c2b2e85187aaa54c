"""Exponential moving average of the weights; the averaged policy is the one that is exported."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Ema:
    """Shadow copy of a module's parameters: shadow <- decay * shadow + (1 - decay) * weight.

    Before `start_step` the shadow just follows the weights. With `warmup` the n-th average from then on uses
    min(decay, (1 + n) / (10 + n)): it reaches back over a part of a short run, never over all of it.
    """

    def __init__(self, module: nn.Module, *, decay: float, every: int, start_step: int, warmup: bool = False) -> None:
        """Copy the weights of `module`; `update` is to be called after each step, and acts on every `every`th."""
        self.decay, self.every, self.start_step, self.warmup = decay, every, start_step, warmup
        self.shadow = {name: p.detach().clone() for name, p in module.named_parameters()}
        self._averages = list(self.shadow.values())

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Take the weights in after optimiser step number `step` (counted from 1)."""
        if step % self.every and step > self.start_step:
            return
        weight = 1.0 if step <= self.start_step else 1.0 - self._decay_at(step)
        torch._foreach_lerp_(self._averages, list(module.parameters()), weight)

    def _decay_at(self, step: int) -> float:
        count = (step - self.start_step) // self.every
        return min(self.decay, (1 + count) / (10 + count)) if self.warmup else self.decay

    def state_dict(self) -> dict[str, Tensor]:
        """The shadow weights by parameter name."""
        return self.shadow

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore the shadow; raises KeyError when a parameter is missing."""
        for name, value in self.shadow.items():
            value.copy_(state[name])

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Overwrite the module's parameters with the averaged ones."""
        for name, parameter in module.named_parameters():
            parameter.copy_(self.shadow[name])
