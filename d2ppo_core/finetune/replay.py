"""Chunks of many rollouts to learn values from: what each led to, how far ahead, and what may be hoped for there."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from d2ppo_core.finetune.ring import Column, Ring, observation_columns, observations_at
from d2ppo_core.finetune.rollout import Rollout
from d2ppo_core.models.build import Shapes


class Spans(NamedTuple):
    """What each chunk and those after it led to, (C, N) each."""

    reward: NDArray[np.float32]
    """Discounted to the chunk's begin; within a chunk rewards count alike."""
    discount: NDArray[np.float32]
    """Of the value of where it led to; 0 where the task ended the episode."""
    following: NDArray[np.int64]
    """Row of that observation among the rollout's C*N, then its ends."""


def look_ahead(rollout: Rollout, *, gamma: float, chunks: int) -> Spans:
    """Follow every chunk over up to `chunks` of them, itself included, but not over the end of its episode.

    Args:
        rollout: C chunks in N worlds; what it ends with counts as truncated.
        gamma: Discount per control step.
        chunks: >= 1.
    """
    count, worlds = rollout.reward.shape
    stops = rollout.ended.copy()
    stops[-1] = True
    first = np.arange(count)
    reward, discount = np.zeros((count, worlds)), np.ones((count, worlds))
    last, going = np.broadcast_to(first[:, None], (count, worlds)), np.ones((count, worlds), bool)
    for ahead in range(min(chunks, count)):
        now = np.minimum(first + ahead, count - 1)
        reward += np.where(going, discount * rollout.reward[now], 0.0)
        discount = np.where(going, discount * gamma ** rollout.steps[now], discount)
        last = np.where(going, now[:, None], last)
        going = going & ~stops[now]
    world = np.arange(worlds)
    discount = np.where(rollout.terminated[last, world], 0.0, discount)
    ends = np.full(rollout.reward.size, -1)
    ends[rollout.next_index] = rollout.reward.size + np.arange(len(rollout.next_index))
    inside = (last + 1) * worlds + world
    following = np.where(stops[last, world], ends[last * worlds + world], inside)
    return Spans(reward.astype(np.float32), discount.astype(np.float32), following)


class Transitions(NamedTuple):
    """Drawn rows, on the device where they are learned from."""

    state: Tensor
    images: Tensor | None
    chunk: Tensor
    """(B, D) normalised, as executed."""
    reward: Tensor
    discount: Tensor
    next_state: Tensor
    next_images: Tensor | None


class Replay:
    """The latest chunks; each observation is kept once."""

    def __init__(
        self, capacity: int, shapes: Shapes, *, chunk_dim: int, random_shift_px: int, device: torch.device
    ) -> None:
        """Begin empty.

        Args:
            capacity: Observations.
            shapes: Of them.
            chunk_dim: Tp * Da.
            random_shift_px: Pictures are shifted by up to this much whenever they are drawn.
            device: To learn on.

        Raises:
            ConfigError: it would not fit into memory.
        """
        self.random_shift_px, self.device = random_shift_px, device
        columns = observation_columns(shapes) | {
            "chunk": Column((chunk_dim,)),
            "reward": Column(()),
            "discount": Column(()),
            "following": Column((), torch.int64),
            "acted": Column((), torch.bool),
        }
        self.ring = Ring(capacity, columns, key="qppo.replay_chunks")
        self._candidates = torch.empty(0, dtype=torch.int64)

    def __len__(self) -> int:
        """Chunks that can be drawn."""
        return len(self._candidates)

    def take(self, rollout: Rollout, *, gamma: float, chunks: int) -> None:
        """Keep a rollout: its chunks, and what its episodes ended with. Arguments as of `look_ahead`."""
        spans, size, ends = (
            look_ahead(rollout, gamma=gamma, chunks=chunks),
            rollout.reward.size,
            len(rollout.next_index),
        )

        def whole(acted: NDArray[Any], at_ends: NDArray[Any] | None = None) -> Tensor:
            flat = acted.reshape(size, *acted.shape[2:])
            rest = np.zeros((ends, *flat.shape[1:]), flat.dtype) if at_ends is None else at_ends
            return torch.from_numpy(np.concatenate([flat, rest]))

        rows = {
            "state": whole(rollout.state, rollout.next_state),
            "chunk": whole(rollout.chain[:, :, -1].clip(-1, 1)),
            "reward": whole(spans.reward),
            "discount": whole(spans.discount),
            "following": (whole(spans.following) + self.ring.written) % self.ring.capacity,
            "acted": whole(np.ones_like(rollout.terminated)),
        }
        if rollout.images is not None:
            rows["images"] = whole(rollout.images, rollout.next_images)
        self.ring.append(rows)  # what a chunk led to is written after it, so never gone before it
        self._find()

    def draw(self, count: int, generator: torch.Generator) -> Transitions:
        """Chunks drawn evenly, with replacement."""
        held, index = self.ring.columns, self._drawn(count, generator)
        state, images = self._observations(index, generator)
        next_state, next_images = self._observations(held["following"][index], generator)
        chunk, reward, discount = (held[name][index].to(self.device) for name in ("chunk", "reward", "discount"))
        return Transitions(state, images, chunk, reward, discount, next_state, next_images)

    def observations(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """States and pictures drawn evenly, with replacement."""
        return self._observations(self._drawn(count, generator), generator)

    def state_dict(self) -> dict[str, Any]:
        """What is held, for checkpoints."""
        return self.ring.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.ring.load_state_dict(state)
        self._find()

    def _find(self) -> None:
        self._candidates = self.ring.columns["acted"].nonzero().squeeze(1)

    def _drawn(self, count: int, generator: torch.Generator) -> Tensor:
        return self._candidates[torch.randint(len(self), (count,), generator=generator)]

    def _observations(self, index: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        shift_px, columns = self.random_shift_px, self.ring.columns
        return observations_at(columns, index, random_shift_px=shift_px, generator=generator, device=self.device)
