"""Generalised advantage estimation per chunk, and the scale of rewards."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]


class Advantages(NamedTuple):
    """Both (C, N)."""

    advantages: Float32
    returns: Float32
    """Targets of the critic: advantage + value."""


def gae(
    rewards: Float32,
    values: Float32,
    next_values: Float32,
    terminated: NDArray[np.bool_],
    ended: NDArray[np.bool_],
    *,
    gamma: float,
    gae_lambda: float,
) -> Advantages:
    """Advantages of C chunks in N worlds.

    delta_t = r_t + gamma V(s'_t) (1 - terminated_t) - V(s_t)
    A_t = delta_t + gamma lambda (1 - ended_t) A_{t+1}

    Args:
        rewards: (C, N) of the chunks.
        values: (C, N) V(s_t).
        next_values: (C, N) V(s'_t), s'_t being what the chunk itself led to: where an episode ended, its last
            observation, not the first of the next one.
        terminated: (C, N) the task ended the episode: nothing is to be had behind it.
        ended: (C, N) terminated or truncated.
        gamma: Discount per chunk.
        gae_lambda: Decay of the estimates.

    Raises:
        ValueError: the shapes differ.
    """
    if len({a.shape for a in (rewards, values, next_values, terminated, ended)}) != 1:
        raise ValueError("wanted arrays of equal shape (C, N)")
    deltas = rewards + gamma * next_values * ~terminated - values
    advantages = np.zeros_like(values)
    following = np.zeros_like(values[0])
    for t in reversed(range(len(rewards))):
        following = deltas[t] + gamma * gae_lambda * ~ended[t] * following
        advantages[t] = following
    return Advantages(advantages, advantages + values)


class RewardScale:
    """Divides rewards by the running standard deviation of the discounted return; the mean stays."""

    def __init__(self, num_envs: int, gamma: float) -> None:
        self.gamma = gamma
        self.count, self.mean, self.spread = 0.0, 0.0, 0.0
        self._return = np.zeros(num_envs)

    def start(self) -> None:
        """All worlds begin new episodes."""
        self._return[:] = 0.0

    def __call__(self, rewards: Float32, ended: NDArray[np.bool_]) -> Float32:
        """Take the rewards (N,) of one chunk in and return them scaled."""
        self._return = self.gamma * self._return + rewards
        for value in self._return:  # Welford
            self.count += 1
            delta = value - self.mean
            self.mean += delta / self.count
            self.spread += delta * (value - self.mean)
        self._return[ended] = 0.0
        return np.asarray(rewards / np.sqrt(self.spread / self.count + 1e-8), dtype=np.float32)

    def state_dict(self) -> dict[str, float]:
        """What the scale depends on between iterations."""
        return {"count": self.count, "mean": self.mean, "spread": self.spread}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Inverse of `state_dict`."""
        self.count, self.mean, self.spread = state["count"], state["mean"], state["spread"]
