"""The PPO update of actor and critic on one rollout."""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor

from d2ppo_core.config.finetune import PpoConfig
from d2ppo_core.finetune.augment import judge_again, shift_pictures
from d2ppo_core.finetune.experience import Experience, make_experience
from d2ppo_core.finetune.learner import Learner
from d2ppo_core.finetune.minibatch import Minibatch, minibatches
from d2ppo_core.finetune.progress import Progress, silent
from d2ppo_core.finetune.rollout import Rollout
from d2ppo_core.finetune.successes import Successes
from d2ppo_core.losses.ppo import clip_schedule, denoising_discount, normalized, ppo_loss, value_loss
from d2ppo_core.models.chain import ChainPolicy
from d2ppo_core.models.critic import Critic


class PpoUpdate(Learner):
    """The clipped objective over (observation, denoising step) pairs."""

    def __init__(
        self,
        chain: ChainPolicy,
        critic: Critic,
        config: PpoConfig,
        *,
        compiled: bool = False,
        successes: Successes | None = None,
    ) -> None:
        """Optimise the trainable weights of `chain` and `critic`.

        Args:
            chain: The actor.
            critic: The critic.
            config: The update.
            compiled: Compute the loss as torch.compile makes it.
            successes: Cloned on the way.
        """
        super().__init__(chain, critic, config, successes=successes)
        self._found = torch.compile(self._loss, dynamic=True) if compiled else self._loss
        self.origin = copy.deepcopy(chain).requires_grad_(False) if config.bc_weight else None
        self.origin_generator = torch.Generator()
        self.clip = clip_schedule(chain.num_steps, low=config.clip_low, high=config.clip_high).to(self.device)
        self.discount = denoising_discount(chain.num_steps, config.gamma_denoising).to(self.device)

    def update(
        self, rollout: Rollout, generator: torch.Generator, *, actor: bool = True, progress: Progress = silent
    ) -> dict[str, float]:
        """As `Learner.update`: some epochs of minibatches; means over them. Warm-up leaves the actor out."""
        scalars = self.take_successes(rollout, generator)
        if self.config.random_shift_px and rollout.images is not None:
            rollout = judge_again(shift_pictures(rollout, self.config.random_shift_px, generator), self.chain)
        experience = make_experience(rollout, self.critic, self.reward_scale, self.config, self.device)
        self.origin_generator.manual_seed(generator.initial_seed())
        rows: list[dict[str, float]] = []
        for done, batch in self._batches(len(experience.state), generator):
            progress(done)
            rows.append(self.step(experience, batch, actor=actor))
            if rows[-1].get("ppo/approx_kl", 0.0) > self.config.target_kl:
                break
        means = {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
        return (
            scalars
            | means
            | {"ppo/minibatches": float(len(rows)), "critic/explained_variance": experience.explained_variance}
        )

    def _batches(self, num_obs: int, generator: torch.Generator) -> Iterator[tuple[float, Minibatch]]:
        """Minibatches of all epochs, each with the share that is done before it."""
        epochs = self.config.epochs
        for epoch in range(epochs):
            batches = list(minibatches(num_obs, self.chain.num_steps, self.config, generator))
            for done, batch in enumerate(batches):
                yield (epoch + done / len(batches)) / epochs, batch.to(self.device)

    def step(self, experience: Experience, batch: Minibatch, *, actor: bool) -> dict[str, float]:
        """One optimiser step on a minibatch; its gradient is summed over micro-batches."""
        self.actor_optimizer.zero_grad(set_to_none=True)
        self.critic_optimizer.zero_grad(set_to_none=True)
        advantage = normalized(experience.advantage[batch.pair_obs]) * self.discount[batch.step]
        scalars: dict[str, float] = {}
        pairs = self.config.micro_batch_pairs
        for part, where in batch.split(pairs) if pairs else [(batch, slice(None))]:
            share = len(part.obs) / len(batch.obs)
            loss, found = self._found(experience, part, advantage[where], actor=actor)
            self.check(loss.item())
            (share * loss).backward()  # type: ignore[no-untyped-call]
            for name, value in found.items():
                scalars[name] = scalars.get(name, 0.0) + share * float(value.detach())
        if actor:
            scalars |= self.clone_successes()
            scalars["optim/actor_gradient_norm"] = self.step_actor()
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
        ppo = ppo_loss(log_prob, experience.log_prob[obs, step], advantage, self.clip[step], batch.weight)
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
        row = torch.arange(len(state), device=state.device).repeat_interleave(steps)
        step = torch.arange(steps, device=state.device).repeat(len(state))
        log_prob = self.chain.log_prob(condition[row], chain[row, step], chain[row, step + 1], step)
        return -log_prob.mean()
