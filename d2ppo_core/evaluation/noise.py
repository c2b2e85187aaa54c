"""Noise that depends on an episode's seed and on the number of the chunk alone.

The same episode then gets the same noise in every world, in every order and beside any other episodes.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from d2ppo_core.envs.protocol import Observation
from d2ppo_core.evaluation.samplers import Sampler

_STREAM = 0x6E6F6973
"""Keeps the noise apart from everything else that is drawn with an episode's seed."""


def chunk_noise(seed: int, chunk: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Standard normal noise of one chunk; its first rows do not depend on how many are wanted."""
    return np.random.default_rng((_STREAM, chunk, seed)).standard_normal(shape, dtype=np.float32)


class SeededActor:
    """A policy as `run_episodes` wants it."""

    def __init__(self, sampler: Sampler, num_envs: int) -> None:
        """Act for `num_envs` worlds, none of which runs an episode yet."""
        self._sampler = sampler
        self._seeds = [0] * num_envs
        self._chunks = [-1] * num_envs

    def begin(self, worlds: Sequence[int], seeds: Sequence[int]) -> None:
        """New episodes start in these worlds."""
        for world, seed in zip(worlds, seeds, strict=True):
            self._seeds[world], self._chunks[world] = seed, 0

    def __call__(self, obs: Observation) -> NDArray[np.float32]:
        """Observations (N, ...) by name to chunks (N, Tp, Da)."""
        noise = np.zeros((len(self._seeds), *self._sampler.noise_shape), np.float32)
        for world, (seed, chunk) in enumerate(zip(self._seeds, self._chunks, strict=True)):
            if chunk >= 0:
                noise[world] = chunk_noise(seed, chunk, self._sampler.noise_shape)
                self._chunks[world] += 1
        return self._sampler(obs, noise)
