"""The PPO update of actor and critic on one rollout."""

import copy
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from d2ppo_core.config.finetune import PpoConfig
from d2ppo_core.errors import TrainingError
from d2ppo_core.finetune.experience import Experience, make_experience
from d2ppo_core.finetune.gae import RewardScale
from d2ppo_core.finetune.minibatch import Minibatch, minibatches
from d2ppo_core.finetune.rollout import Rollout
from d2ppo_core.losses.ppo import clip_schedule, denoising_discount, normalized, ppo_loss, value_loss
from d2ppo_core.models.chain import ChainPolicy
from d2ppo_core.models.critic import Critic
from d2ppo_core.pretrain.ema import Ema


class PpoUpdate:
    """Everything that learns from rollouts, with its optimisers."""

    def __init__(self, chain: ChainPolicy, critic: Critic, config: PpoConfig) -> None:
        """Optimise the trainable weights of `chain` and `critic`."""
        self.chain, self.critic, self.config = chain, critic, config
        self.actor_parameters = [p for p in chain.parameters() if p.requires_grad]
        self.actor_optimizer = torch.optim.AdamW(
            self.actor_parameters, lr=config.actor_lr, weight_decay=config.actor_weight_decay, fused=True
        )
        self.critic_optimizer = torch.optim.AdamW(
            critic.parameters(), lr=config.critic_lr, weight_decay=config.critic_weight_decay, fused=True
        )
        self.device = self.actor_parameters[0].device
        self.origin = copy.deepcopy(chain).requires_grad_(False) if config.bc_weight else None
        self.origin_generator = torch.Generator(self.device)
        self.ema = Ema(chain.policy, decay=config.ema_decay, every=1, start_step=0)
        self.reward_scale = RewardScale(config.gamma_env)
        self.steps = 0
        """Optimiser steps of the actor."""
        self.clip = clip_schedule(chain.num_steps, low=config.clip_low, high=config.clip_high).to(self.device)
        self.discount = denoising_discount(chain.num_steps, config.gamma_denoising).to(self.device)

    def update(self, rollout: Rollout, generator: torch.Generator, *, actor: bool = True) -> dict[str, float]:
        """Some epochs of minibatches; returns means over them.

        Args:
            rollout: Collected with the present weights.
            generator: Decides the minibatches.
            actor: False trains the critic only (warm-up): the actor is not even evaluated.

        Raises:
            TrainingError: a loss is not finite; the weights are those before the step.
        """
        experience = make_experience(rollout, self.critic, self.reward_scale, self.config, self.device)
        self.origin_generator.manual_seed(generator.initial_seed())
        rows: list[dict[str, float]] = []
        for batch in self._batches(len(experience.state), generator):
            rows.append(self.step(experience, batch, actor=actor))
            if rows[-1].get("ppo/approx_kl", 0.0) > self.config.target_kl:
                break
        means = {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
        return means | {"ppo/minibatches": float(len(rows)), "critic/explained_variance": experience.explained_variance}

    def _batches(self, num_obs: int, generator: torch.Generator) -> Iterator[Minibatch]:
        """Minibatches of all epochs."""
        for _ in range(self.config.epochs):
            yield from minibatches(num_obs, self.chain.num_steps, self.config, generator)

    def step(self, experience: Experience, batch: Minibatch, *, actor: bool) -> dict[str, float]:
        """One optimiser step on a minibatch; its gradient is summed over micro-batches."""
        self.actor_optimizer.zero_grad(set_to_none=True)
        self.critic_optimizer.zero_grad(set_to_none=True)
        advantage = normalized(experience.advantage[batch.pair_obs]) * self.discount[batch.step]
        scalars: dict[str, float] = {}
        pairs = self.config.micro_batch_pairs
        for part, where in batch.split(pairs) if pairs else [(batch, slice(None))]:
            share = len(part.obs) / len(batch.obs)
            loss, found = self._loss(experience, part, advantage[where], actor=actor)
            if not math.isfinite(loss.item()):
                raise TrainingError(f"the loss is {loss.item()} after {self.steps} steps of the actor")
            (share * loss).backward()  # type: ignore[no-untyped-call]
            for name, value in found.items():
                scalars[name] = scalars.get(name, 0.0) + share * float(value.detach())
        if actor:
            norm = nn.utils.clip_grad_norm_(self.actor_parameters, self.config.grad_clip_norm or math.inf)
            if not math.isfinite(norm):
                raise TrainingError(f"the actor's gradient is not finite after {self.steps} steps")
            self.actor_optimizer.step()
            self.steps += 1
            self.ema.update(self.chain.policy, self.steps)
            scalars["optim/actor_gradient_norm"] = float(norm)
        self.critic_optimizer.step()
        return scalars

    def _loss(
        self, experience: Experience, batch: Minibatch, advantage: Tensor, *, actor: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Sum to descend on, and its parts by their names in the log."""
        valued = batch.value_obs
        value = value_loss(
            self.critic(experience.state[valued], experience.images_of(valued)), experience.target[valued]
        )
        if not actor:
            return value, {"losses/value": value}
        state, images = experience.state[batch.obs], experience.images_of(batch.obs)
        obs, step = batch.pair_obs, batch.step
        condition = self.chain.condition(state, images)
        log_prob = self.chain.log_prob(
            condition[batch.row], experience.chain[obs, step], experience.chain[obs, step + 1], step
        )
        ppo = ppo_loss(
            log_prob, experience.log_prob[obs, step], advantage, self.clip[step], batch.weight.to(self.device)
        )
        total = value + ppo.policy
        scalars = {
            "losses/value": value,
            "losses/policy": ppo.policy,
            "ppo/approx_kl": ppo.approx_kl,
            "ppo/clip_fraction": ppo.clip_fraction,
            "ppo/ratio": ppo.ratio,
        }
        if self.origin is not None:
            scalars["losses/bc"] = self._cloning_loss(state, images, condition)
            total = total + self.config.bc_weight * scalars["losses/bc"]
        return total, scalars

    def _cloning_loss(self, state: Tensor, images: Tensor | None, condition: Tensor) -> Tensor:
        """Mean negative log-likelihood of chains that the pre-trained policy draws for the same observations."""
        assert self.origin is not None
        chain = self.origin.sample(state, images, self.origin_generator).chain
        steps = self.chain.num_steps
        row = torch.arange(len(state)).repeat_interleave(steps)
        step = torch.arange(steps).repeat(len(state))
        log_prob = self.chain.log_prob(condition[row], chain[row, step], chain[row, step + 1], step)
        return -log_prob.mean()

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
