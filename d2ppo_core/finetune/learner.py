"""What every algorithm of stage 2 learns with: actor, critic, optimisers, averaged weights, the scale of rewards."""

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import nn

from d2ppo_core.config.finetune import PpoConfig
from d2ppo_core.errors import TrainingError
from d2ppo_core.finetune.gae import RewardScale
from d2ppo_core.finetune.progress import Progress, silent
from d2ppo_core.finetune.rollout import Rollout
from d2ppo_core.finetune.successes import Successes
from d2ppo_core.models.chain import ChainPolicy
from d2ppo_core.pretrain.ema import Ema


class Learner(ABC):
    """Turns rollouts into better weights; restorable to the bit."""

    def __init__(
        self, chain: ChainPolicy, critic: nn.Module, config: PpoConfig, *, successes: Successes | None = None
    ) -> None:
        """Optimise the trainable weights of `chain` and `critic` on the device where they are."""
        self.chain, self.critic, self.config, self.successes = chain, critic, config, successes
        self.actor_parameters = [p for p in chain.parameters() if p.requires_grad]
        self.actor_optimizer = torch.optim.AdamW(
            self.actor_parameters, lr=config.actor_lr, weight_decay=config.actor_weight_decay, fused=True
        )
        self.critic_optimizer = torch.optim.AdamW(
            critic.parameters(), lr=config.critic_lr, weight_decay=config.critic_weight_decay, fused=True
        )
        self.device = self.actor_parameters[0].device
        self.ema = Ema(chain.policy, decay=config.ema_decay, every=1, start_step=0)
        self.reward_scale = RewardScale(config.reward_scale_gamma or config.gamma_env)
        self.steps = 0
        """Optimiser steps of the actor."""

    @abstractmethod
    def update(
        self, rollout: Rollout, generator: torch.Generator, *, actor: bool = True, progress: Progress = silent
    ) -> dict[str, float]:
        """Learn from a rollout; returns scalars by their names in the log.

        Args:
            rollout: Collected with the present weights.
            generator: Decides everything random.
            actor: False trains the critic only (warm-up).
            progress: Told how far it is.

        Raises:
            TrainingError: a loss or a gradient is not finite; the weights are those before the step.
        """

    @property
    def notes(self) -> list[str]:
        """What a person should be told; whoever tells it empties the list."""
        return self.successes.notes if self.successes is not None else []

    def take_successes(self, rollout: Rollout, generator: torch.Generator) -> dict[str, float]:
        """Keep what was solved, if that is to be cloned; returns scalars."""
        if self.successes is None:
            return {}
        self.successes.take(rollout, generator.initial_seed())
        return {"self_cloning/chunks": float(len(self.successes))}

    def clone_successes(self) -> dict[str, float]:
        """Add the gradient of the weighted cloning term to the actor's, if there is something to clone."""
        if self.successes is None or not len(self.successes):
            return {}
        loss = self.successes.loss(self.chain)
        self.check(loss.item())
        (self.successes.config.weight * loss).backward()  # type: ignore[no-untyped-call]
        return {"losses/self_cloning": loss.item()}

    def check(self, loss: float) -> None:
        """Raise TrainingError when a loss is not finite."""
        if not math.isfinite(loss):
            raise TrainingError(f"the loss is {loss} after {self.steps} steps of the actor")

    def step_actor(self) -> float:
        """Limit the gradient, descend, average; returns the norm. Raises TrainingError when that is not finite."""
        norm = float(nn.utils.clip_grad_norm_(self.actor_parameters, self.config.grad_clip_norm or math.inf))
        if not math.isfinite(norm):
            raise TrainingError(f"the actor's gradient is not finite after {self.steps} steps")
        self.actor_optimizer.step()
        self.steps += 1
        self.ema.update(self.chain.policy, self.steps)
        return norm

    def state_dict(self) -> dict[str, Any]:
        """Everything that changes, for checkpoints."""
        return {
            "actor": self.chain.policy.state_dict(),
            "ema": self.ema.state_dict(),
            "critic": self.critic.state_dict(),
            "actor_optimizer": self.actor_optimizer.state_dict(),
            "critic_optimizer": self.critic_optimizer.state_dict(),
            "reward_scale": self.reward_scale.state_dict(),
            "steps": self.steps,
            **({"successes": self.successes.state_dict()} if self.successes is not None else {}),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.chain.policy.load_state_dict(state["actor"])
        self.ema.load_state_dict(state["ema"])
        self.critic.load_state_dict(state["critic"])
        self.actor_optimizer.load_state_dict(state["actor_optimizer"])
        self.critic_optimizer.load_state_dict(state["critic_optimizer"])
        self.reward_scale.load_state_dict(state["reward_scale"])
        self.steps = state["steps"]
        if self.successes is not None:
            self.successes.load_state_dict(state["successes"])
