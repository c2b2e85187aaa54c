"""PPO through the denoising chain whose advantages come from critics of chunks, learned off-policy on replay.

For an observation of any remembered rollout the present policy draws several chains; an ensemble of critics says how
much better each chunk is than their average, and the clipped objective follows it where all critics agree. So an
observation is learned from many times, with chunks that were never executed. Source of the recipe: OGPO (arXiv
2605.03065). The reward of 1 that ends an episode bounds values to [0, 1]; they are learned by cross-entropy.
"""

import copy
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from d2ppo_core.config.finetune import FinetuneConfig
from d2ppo_core.finetune.learner import Learner
from d2ppo_core.finetune.progress import Progress, silent
from d2ppo_core.finetune.replay import Replay, Transitions, look_ahead
from d2ppo_core.finetune.rollout import Rollout
from d2ppo_core.finetune.successes import Successes
from d2ppo_core.losses.ensemble import chunk_advantage, critics_loss, explained, scaled
from d2ppo_core.losses.ppo import PpoLoss, clip_schedule, denoising_discount, ppo_loss
from d2ppo_core.models.chain import ChainPolicy
from d2ppo_core.models.ensemble import ChunkCritics

_VALUE_ROWS = 2048
"""Executed chunks that are valued at once."""


_ANSWERED_ROWS = 256
"""Observations that are answered at once."""
_LOGGED = ("losses/policy", "ppo/approx_kl", "ppo/clip_fraction", "ppo/ratio")


class _Answers(NamedTuple):
    """N chains of the policy that acted for each of S observations."""

    state: Tensor
    images: Tensor | None
    chain: Tensor
    """(S, N, K' + 1, D)."""
    log_prob: Tensor
    """(S, N, K')."""
    advantage: Tensor
    """(S, N) scaled; 0 where the critics disagree."""


class QppoUpdate(Learner):
    """Critics by temporal differences on replay, the actor by the clipped objective on chunks of its own."""

    critic: ChunkCritics

    def __init__(
        self,
        chain: ChainPolicy,
        critics: ChunkCritics,
        config: FinetuneConfig,
        replay: Replay,
        *,
        successes: Successes | None = None,
    ) -> None:
        """Optimise the trainable weights of `chain` and `critics`."""
        super().__init__(chain, critics, config.ppo, successes=successes)
        self.own, self.replay = config.qppo, replay
        self.target = copy.deepcopy(critics).requires_grad_(False)
        self._averaged: list[Tensor] = list(self.target.parameters())
        self._present: list[Tensor] = list(self.critic.parameters())
        self.clip = clip_schedule(chain.num_steps, low=config.ppo.clip_low, high=config.ppo.clip_high).to(self.device)
        self.discount = denoising_discount(chain.num_steps, config.ppo.gamma_denoising).to(self.device)

    def update(
        self, rollout: Rollout, generator: torch.Generator, *, actor: bool = True, progress: Progress = silent
    ) -> dict[str, float]:
        """As `Learner.update`: the critics first, then the actor by what they say. Warm-up leaves the actor out."""
        own = self.own
        scalars = self.take_successes(rollout, generator) | self._judge(rollout)
        self.replay.take(rollout, gamma=own.gamma, chunks=own.return_chunks)
        share = 0.5 if actor else 1.0  # of the work, about
        rows: list[dict[str, float]] = []
        for done in range(own.critic_updates):
            progress(share * done / own.critic_updates)
            rows.append(self._step_critics(generator))
        scalars |= {"critics/replay": float(len(self.replay))} | _means(rows)
        if actor:
            scalars |= self._improve(generator, lambda done: progress(share + (1 - share) * done))
        return scalars

    def targets(self, batch: Transitions, generator: torch.Generator) -> Tensor:
        """(B,) reward + discount * mean over the averaged critics of a chunk that the present policy draws there."""
        with torch.no_grad():
            drawn = self.chain.sample(batch.next_state, batch.next_images, generator)
            logits = self.target(self.target.features(batch.next_state, batch.next_images), drawn.actions.flatten(1))
            hoped: Tensor = logits.sigmoid().mean(0)
            return (batch.reward + batch.discount * hoped).clamp(0, 1)

    def state_dict(self) -> dict[str, Any]:
        """As `Learner.state_dict`, with the averaged critics and the replay."""
        return super().state_dict() | {"target": self.target.state_dict(), "replay": self.replay.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of `state_dict`."""
        super().load_state_dict(state)
        self.target.load_state_dict(state["target"])
        self.replay.load_state_dict(state["replay"])

    def _step_critics(self, generator: torch.Generator) -> dict[str, float]:
        batch = self.replay.draw(self.own.batch_size, generator)
        target = self.targets(batch, generator)
        self.critic_optimizer.zero_grad(set_to_none=True)
        logits = self.critic(self.critic.features(batch.state, batch.images), batch.chunk)
        loss = critics_loss(logits, target)
        self.check(loss.item())
        loss.backward()  # type: ignore[no-untyped-call]
        self.critic_optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(self._averaged, self._present, 1 - self.own.target_decay)
            spread = logits.sigmoid().std(0).mean()
        return {"losses/value": loss.item() / len(logits), "critics/disagreement": float(spread)}

    def _improve(self, generator: torch.Generator, progress: Progress) -> dict[str, float]:
        """Let the policy that acted answer remembered observations, then some epochs on its answers.

        They are all drawn before the first step, so that the clip range limits what an iteration may change: critics
        are wrong about chunks that nobody tried, and only the next rollout tells.
        """
        answers, scalars = self._answer(generator)
        count = len(answers.state)
        parts = math.ceil(answers.log_prob.numel() / self.config.minibatch_pairs)
        rows: list[dict[str, float]] = []
        for epoch in range(self.config.epochs):
            order = torch.randperm(count, generator=generator).to(self.device)
            for done, chosen in enumerate(order.tensor_split(min(parts, count))):
                progress((epoch + done / parts) / self.config.epochs)
                rows.append(self._step_policy(answers, chosen))
            if rows[-1]["ppo/approx_kl"] > self.config.target_kl:
                break
        return scalars | _means(rows) | {"ppo/minibatches": float(len(rows))}

    @torch.no_grad()
    def _answer(self, generator: torch.Generator) -> tuple[_Answers, dict[str, float]]:
        """Chunks for observations drawn from replay with the ensemble's advantages, and what there is to log."""
        own = self.own
        state, images = self.replay.observations(own.observations, generator)
        parts: list[_Answers] = []
        agreed: list[Tensor] = []
        for low in range(0, len(state), _ANSWERED_ROWS):
            rows = slice(low, low + _ANSWERED_ROWS)
            seen = (state[rows], None if images is None else images[rows])
            drawn = self.chain.sample(*seen, generator, chains=own.chains)
            found = chunk_advantage(self._values(*seen, drawn.actions.flatten(1)))
            chain, log_prob = (x.reshape(*found.agreed.shape, *x.shape[1:]) for x in (drawn.chain, drawn.log_prob))
            parts.append(_Answers(*seen, chain, log_prob, found.advantage))
            agreed.append(found.agreed)
        advantage, agree = torch.cat([part.advantage for part in parts]), torch.cat(agreed)
        answers = _Answers(
            state,
            images,
            torch.cat([part.chain for part in parts]),
            torch.cat([part.log_prob for part in parts]),
            scaled(advantage) * agree,
        )
        spread = float(advantage.square().mean().sqrt())
        return answers, {"critics/agreement": float(agree.float().mean()), "critics/advantage": spread}

    def _step_policy(self, answers: _Answers, chosen: Tensor) -> dict[str, float]:
        """One optimiser step on all chains of some observations; its gradient is summed over micro-batches."""
        self.actor_optimizer.zero_grad(set_to_none=True)
        per_obs = answers.log_prob[0].numel()
        size = max(1, self.config.micro_batch_pairs // per_obs) if self.config.micro_batch_pairs else len(chosen)
        scalars: dict[str, float] = {}
        for low in range(0, len(chosen), size):
            part = chosen[low : low + size]
            share, found = len(part) / len(chosen), self._loss(answers, part)
            self.check(found.policy.item())
            (share * found.policy).backward()  # type: ignore[no-untyped-call]
            for name, value in zip(_LOGGED, found, strict=True):
                scalars[name] = scalars.get(name, 0.0) + share * float(value.detach())
        scalars |= self.clone_successes()
        return scalars | {"optim/actor_gradient_norm": self.step_actor()}

    def _loss(self, answers: _Answers, chosen: Tensor) -> PpoLoss:
        """The clipped objective on all denoising steps of all chains of some observations."""
        chains, steps = answers.log_prob.shape[1:]
        state, images = answers.state[chosen], None if answers.images is None else answers.images[chosen]
        links = answers.chain[chosen].flatten(0, 1)
        row = torch.arange(len(links), device=self.device).repeat_interleave(steps)
        step = torch.arange(steps, device=self.device).repeat(len(links))
        condition = self.chain.condition(state, images)[row // chains]
        log_prob = self.chain.log_prob(condition, links[row, step], links[row, step + 1], step)
        advantage = answers.advantage[chosen].flatten()[row] * self.discount[step]
        old = answers.log_prob[chosen].flatten()
        return ppo_loss(log_prob, old, advantage, self.clip[step], torch.ones_like(advantage))

    @torch.no_grad()
    def _values(self, state: Tensor, images: Tensor | None, chunks: Tensor) -> Tensor:
        """(E, B, N) of N chunks for each of B observations, given in their order."""
        each = len(chunks) // len(state)
        features = self.critic.features(state, images).repeat_interleave(each, dim=0)
        logits: Tensor = self.critic(features, chunks)
        return logits.sigmoid().reshape(len(logits), len(state), each)

    @torch.no_grad()
    def _judge(self, rollout: Rollout) -> dict[str, float]:
        """What the critics said of a new rollout's chunks, beside what came of those whose episodes ended in it."""
        spans = look_ahead(rollout, gamma=self.own.gamma, chunks=len(rollout.reward))
        known = torch.from_numpy(_known(rollout).reshape(-1))
        state = torch.from_numpy(rollout.state).flatten(0, 1)[known].to(self.device)
        chunks = torch.from_numpy(rollout.chain[:, :, -1].clip(-1, 1)).flatten(0, 1)[known].to(self.device)
        images = None if rollout.images is None else torch.from_numpy(rollout.images).flatten(0, 1)[known]
        outcome = torch.from_numpy(spans.reward).flatten()[known].to(self.device)
        blocks = [
            self._values(state[rows], None if images is None else images[rows].to(self.device), chunks[rows])
            for rows in (slice(low, low + _VALUE_ROWS) for low in range(0, len(state), _VALUE_ROWS))
        ]
        if not blocks:
            return {}
        value = torch.cat(blocks, dim=1).mean(0).flatten()
        scalars = {"critics/value": float(value.mean()), "critics/return": float(outcome.mean())}
        return scalars | {"critic/explained_variance": explained(outcome, value)}


def _known(rollout: Rollout) -> Any:
    """(C, N) chunks whose episode ended within the rollout."""
    return rollout.ended[::-1].cumsum(axis=0)[::-1] > 0


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    """Means of equally named scalars; nothing of no rows."""
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]} if rows else {}
