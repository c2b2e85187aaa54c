"""Generalised advantage estimation per chunk, and the scale of rewards."""

import math
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
    """Divides rewards by the running standard deviation of the discounted return; the mean stays.

    A rollout is taken in as a whole and then divided by one number: within it, equal rewards stay equal.
    """

    def __init__(self, gamma: float, *, limit: float = 10.0) -> None:
        """Discount by `gamma` per chunk.

        Args:
            gamma: Discount per chunk.
            limit: Largest magnitude of a scaled reward: the first success among thousands of failures has almost no
                deviation to be divided by.
        """
        self.gamma, self.limit = gamma, limit
        self.count, self.mean, self.spread = 0, 0.0, 0.0

    def __call__(self, rewards: Float32, ended: NDArray[np.bool_]) -> Float32:
        """Take the rewards (C, N) of a rollout in, whose worlds all began new episodes, and return them scaled."""
        returns = np.zeros(rewards.shape)
        running = np.zeros(rewards.shape[1])
        for t, reward in enumerate(rewards):
            running = self.gamma * running + reward
            returns[t] = running
            running = np.where(ended[t], 0.0, running)
        self._take(returns)
        deviation = math.sqrt(self.spread / self.count + 1e-8)
        return np.asarray((rewards / deviation).clip(-self.limit, self.limit), dtype=np.float32)

    def _take(self, values: NDArray[np.float64]) -> None:
        """Merge count, mean and sum of squared deviations (Chan et al. 1979)."""
        mean, total = float(values.mean()), self.count + values.size
        shift = mean - self.mean
        self.spread += float(((values - mean) ** 2).sum()) + shift**2 * self.count * values.size / total
        self.mean += shift * values.size / total
        self.count = total

    def state_dict(self) -> dict[str, float]:
        """What the scale depends on between iterations, as plain numbers."""
        return {"count": self.count, "mean": self.mean, "spread": self.spread}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Inverse of `state_dict`."""
        self.count, self.mean, self.spread = int(state["count"]), state["mean"], state["spread"]
