"""From a rollout to what the update reads: advantages, targets and tensors."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from d2ppo_core.config.finetune import PpoConfig
from d2ppo_core.finetune.gae import RewardScale, gae
from d2ppo_core.finetune.rollout import Rollout

_VALUE_ROWS = 2048
"""Observations that are valued at once."""


@dataclass(frozen=True, kw_only=True)
class Experience:
    """A rollout as tensors, one row per chunk."""

    state: Tensor
    images: Tensor | None
    chain: Tensor
    """(C*N, K' + 1, D)."""
    log_prob: Tensor
    """(C*N, K')."""
    advantage: Tensor
    """(C*N,) not normalised."""
    target: Tensor
    """(C*N,) what the critic should say."""
    value: Tensor
    """(C*N,) what the critic said."""

    @property
    def explained_variance(self) -> float:
        """Share of the targets' variance that the critic foresaw."""
        return 1 - float((self.target - self.value).var() / self.target.var().clamp_min(1e-8))

    def images_of(self, obs: Tensor) -> Tensor | None:
        """Pictures of some rows."""
        return None if self.images is None else self.images[obs]


Values = Callable[[Tensor, Tensor | None], Tensor]
"""A critic: states (N, Ds) and images or None -> (N,)."""


@torch.no_grad()
def make_experience(
    rollout: Rollout, critic: Values, reward_scale: RewardScale, config: PpoConfig, device: torch.device | str = "cpu"
) -> Experience:
    """Value every observation once and turn rewards into advantages."""
    state = torch.from_numpy(rollout.state).flatten(0, 1).to(device)
    images = None if rollout.images is None else torch.from_numpy(rollout.images).flatten(0, 1).to(device)
    values = _values(critic, state, images).reshape(rollout.reward.shape)
    reward = rollout.reward
    if config.scale_reward:
        reward = reward_scale(reward, rollout.ended)
    published = not config.bootstrap_truncated
    found = gae(
        reward,
        values,
        _next_values(rollout, values, critic, published=published, device=device),
        rollout.terminated,
        rollout.terminated if published else rollout.ended,
        gamma=config.gamma_env,
        gae_lambda=config.gae_lambda,
    )
    return Experience(
        state=state,
        images=images,
        chain=torch.from_numpy(rollout.chain).flatten(0, 1).to(device),
        log_prob=torch.from_numpy(rollout.log_prob).flatten(0, 1).to(device),
        advantage=torch.from_numpy(found.advantages).flatten().to(device),
        target=torch.from_numpy(found.returns).flatten().to(device),
        value=torch.from_numpy(values).flatten().to(device),
    )


def _next_values(
    rollout: Rollout, values: NDArray[np.float32], critic: Values, *, published: bool, device: torch.device | str
) -> NDArray[np.float32]:
    """(C, N) value of what each chunk led to; `published` takes the next episode's first observation at an end."""
    following = np.concatenate([values[1:], np.zeros_like(values[:1])])
    last_chunk = rollout.next_index >= values.size - values.shape[1]
    chosen = last_chunk if published else np.ones_like(last_chunk)
    state = torch.from_numpy(rollout.next_state[chosen]).to(device)
    images = None if rollout.next_images is None else torch.from_numpy(rollout.next_images[chosen]).to(device)
    following.reshape(-1)[rollout.next_index[chosen]] = _values(critic, state, images)
    return following


def _values(critic: Values, state: Tensor, images: Tensor | None) -> NDArray[np.float32]:
    """(N,) critic's values, in blocks that fit into memory."""
    blocks = [
        critic(state[low : low + _VALUE_ROWS], None if images is None else images[low : low + _VALUE_ROWS])
        for low in range(0, len(state), _VALUE_ROWS)
    ]
    values: NDArray[np.float32] = torch.cat(blocks).cpu().numpy()
    return values
