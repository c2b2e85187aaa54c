"""Weighted regression on executed chunks, the comparisons to PPO: DRWR and DAWR.

The policy explores as for PPO and then clones what it executed, each chunk weighing more the better it did. DRWR weighs
by the discounted rewards that followed, on the newest rollout alone; DAWR by advantages over a learned critic, on the
latest few rollouts. Source: Ren et al. 2024, arXiv 2409.00588, appendix.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from d2ppo_core.config.finetune import FinetuneConfig
from d2ppo_core.finetune.augment import shift_pictures
from d2ppo_core.finetune.experience import Experience, make_experience
from d2ppo_core.finetune.learner import Learner
from d2ppo_core.finetune.progress import Progress, silent
from d2ppo_core.finetune.rollout import Rollout
from d2ppo_core.losses.ppo import normalized, value_loss
from d2ppo_core.losses.weighted import regression_weight, weighted_loss
from d2ppo_core.models.chain import ChainPolicy
from d2ppo_core.models.critic import Critic


@dataclass(frozen=True)
class _Draw:
    """Rows of a batch, in the order of the parts that they came from."""

    state: Tensor
    images: Tensor | None
    chunks: Tensor
    """(B, D) as executed."""
    target: Tensor
    index: Tensor
    """(B,) over all parts."""


class WeightedUpdate(Learner):
    """DRWR or DAWR, as the configuration's `algorithm` says."""

    def __init__(self, chain: ChainPolicy, critic: Critic, config: FinetuneConfig) -> None:
        """Optimise the trainable weights of `chain` and, for DAWR, of `critic`."""
        super().__init__(chain, critic, config.ppo)
        self.weighted = config.weighted
        self.learns_values = config.algorithm == "dawr"
        # Without values the advantage for lambda = 1 is the discounted sum of the rewards to come.
        alone = replace(config.ppo, gae_lambda=1.0, bootstrap_truncated=True)
        self._quiet = replace(config.ppo if self.learns_values else alone, scale_reward=False)
        self._memory: list[Rollout] = []

    def update(
        self, rollout: Rollout, generator: torch.Generator, *, actor: bool = True, progress: Progress = silent
    ) -> dict[str, float]:
        """As `Learner.update`: the critic first, then the actor by the weights under the new critic."""
        self._remember(shift_pictures(rollout, self.config.random_shift_px, generator))
        parts = self._experiences()
        scalars: dict[str, float] = {}
        if self.learns_values:
            scalars["critic/explained_variance"] = parts[-1].explained_variance
            steps = _watched(self.weighted.critic_updates, progress)
            scalars |= _means([self._step_critic(parts, generator) for _ in steps])
            parts = self._experiences()
        if actor or not self.learns_values:
            score = normalized(torch.cat([part.advantage for part in parts]))
            weight = regression_weight(score, beta=self.weighted.beta, max_weight=self.weighted.max_weight)
            steps = _watched(self.weighted.updates, progress)
            scalars |= _means([self._step_actor(parts, weight, generator) for _ in steps])
            scalars["weighted/mean"] = float(weight.mean())
            scalars["weighted/limited"] = float((weight >= self.weighted.max_weight * (1 - 1e-6)).float().mean())
        return scalars

    def state_dict(self) -> dict[str, Any]:
        """As `Learner.state_dict`, with the remembered rollouts that the next update still reads."""
        kept = self._memory[-(self.weighted.replay_iterations - 1) :] if self._capacity > 1 else []
        return super().state_dict() | {"memory": [_packed(rollout) for rollout in kept]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of `state_dict`."""
        super().load_state_dict(state)
        self._memory = [_unpacked(packed) for packed in state["memory"]]

    @property
    def _capacity(self) -> int:
        return self.weighted.replay_iterations if self.learns_values else 1

    def _remember(self, rollout: Rollout) -> None:
        """Keep what was executed, and rewards in the scale of their time."""
        reward = rollout.reward
        if self.learns_values and self.config.scale_reward:
            reward = self.reward_scale(reward, rollout.ended)
        executed = rollout.chain[:, :, -1:].clip(-1, 1)
        trimmed = replace(rollout, chain=executed, log_prob=rollout.log_prob[:, :, :0], reward=reward)
        self._memory = [*self._memory, trimmed][-self._capacity :]

    def _experiences(self) -> list[Experience]:
        """What is remembered, valued by the present critic."""
        values = self.critic if self.learns_values else _no_value
        return [make_experience(r, values, self.reward_scale, self._quiet, self.device) for r in self._memory]

    def _step_critic(self, parts: Sequence[Experience], generator: torch.Generator) -> dict[str, float]:
        drawn = _draw(parts, self.weighted.batch_size, generator)
        self.critic_optimizer.zero_grad(set_to_none=True)
        loss = value_loss(self.critic(drawn.state, drawn.images), drawn.target)
        self.check(loss.item())
        loss.backward()  # type: ignore[no-untyped-call]
        self.critic_optimizer.step()
        return {"losses/value": loss.item()}

    def _step_actor(self, parts: Sequence[Experience], weight: Tensor, generator: torch.Generator) -> dict[str, float]:
        drawn = _draw(parts, self.weighted.batch_size, generator)
        self.actor_optimizer.zero_grad(set_to_none=True)
        condition = self.chain.condition(drawn.state, drawn.images)
        errors = self.chain.cloning_errors(condition, drawn.chunks, generator)
        loss = weighted_loss(errors, weight[drawn.index])
        self.check(loss.item())
        loss.backward()  # type: ignore[no-untyped-call]
        norm = self.step_actor()
        return {
            "losses/policy": loss.item(),
            "losses/denoising": errors.mean().item(),
            "optim/actor_gradient_norm": norm,
        }


def _watched(count: int, progress: Progress) -> Iterator[int]:
    for step in range(count):
        progress(step / count)
        yield step


def _no_value(state: Tensor, images: Tensor | None) -> Tensor:
    return state.new_zeros(len(state))


def _draw(parts: Sequence[Experience], size: int, generator: torch.Generator) -> _Draw:
    """Rows drawn evenly, with replacement; parts are not joined, since pictures of many rollouts fill the memory."""
    ends = np.cumsum([len(part.state) for part in parts])
    index = torch.randint(int(ends[-1]), (size,), generator=generator).sort().values
    cuts = torch.searchsorted(index, torch.tensor(ends))
    device = parts[0].state.device
    chosen = [
        (part, (own - (end - len(part.state))).to(device))
        for part, own, end in zip(parts, index.tensor_split(cuts[:-1]), ends.tolist(), strict=True)
    ]
    images = [part.images[row] for part, row in chosen if part.images is not None]
    return _Draw(
        state=torch.cat([part.state[row] for part, row in chosen]),
        images=torch.cat(images) if images else None,
        chunks=torch.cat([part.chain[row, -1] for part, row in chosen]),
        target=torch.cat([part.target[row] for part, row in chosen]),
        index=index.to(device),
    )


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}


def _packed(rollout: Rollout) -> dict[str, Any]:
    """Tensors and numbers, which checkpoints may hold."""
    values = {f.name: getattr(rollout, f.name) for f in fields(Rollout)}
    return {name: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for name, v in values.items()}


def _unpacked(packed: dict[str, Any]) -> Rollout:
    values: dict[str, Any] = {name: v.numpy() if isinstance(v, Tensor) else v for name, v in packed.items()}
    for name in ("solved", "steps"):  # not kept before, and not read by this update
        values.setdefault(name, np.zeros_like(values["terminated"]))
    return Rollout(**values)
