"""What held-out data say of a policy beside its loss: how far its actions are off, and how much it listens.

Both are taken of chunks that the deployed sampler denoises from noise which never changes, for evenly spaced windows.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from d2ppo_core.models.policy import ChunkPolicy
from d2ppo_core.pretrain.batches import Tensors

NUDGE = 0.01
"""Length of the change of an observation, normalised units: a two-hundredth of one number's range."""
_MAX_WINDOWS = 256
_SEED = 20_240


@dataclass(frozen=True)
class _Sample:
    """Windows to look at, with the noise and the directions that belong to them."""

    state: Tensor
    images: Tensor | None
    chunks: Tensor
    """(N, Tp*Da) as demonstrated."""
    noise: Tensor
    """(N, Tp, Da)."""
    direction: Tensor
    """(N, Ds), each of length 1."""


@torch.no_grad()
def action_error(policy: ChunkPolicy, data: Tensors) -> float:
    """Mean absolute difference of denoised and demonstrated chunks, per number and in normalised units (range 2).

    It holds what the demonstrations themselves leave open, so it does not fall to zero.
    """
    drawn = _sample(policy, data)
    found = policy.sample(drawn.state, drawn.images, drawn.noise).flatten(1)
    return float((found - drawn.chunks).abs().mean())


@torch.no_grad()
def sensitivity(policy: ChunkPolicy, data: Tensors) -> float:
    """How much a chunk changes with the state that it answers: mean of |chunk(o + d) - chunk(o)| / |d|.

    Norms are Euclidean over all numbers of the normalised chunk and of the normalised state; d has the length `NUDGE`
    and a direction drawn evenly; both chunks come of the same noise. Pictures, where there are any, stay as they are.
    """
    drawn = _sample(policy, data)
    before = policy.sample(drawn.state, drawn.images, drawn.noise)
    after = policy.sample(drawn.state + NUDGE * drawn.direction, drawn.images, drawn.noise)
    return float((after - before).flatten(1).norm(dim=1).mean() / NUDGE)


def _sample(policy: ChunkPolicy, data: Tensors) -> _Sample:
    count, device = min(len(data), _MAX_WINDOWS), data.state.device
    rows = torch.linspace(0, len(data) - 1, count, device=device).long()
    generator = torch.Generator().manual_seed(_SEED)
    noise = torch.randn(count, policy.pred_horizon, policy.action_dim, generator=generator)
    direction = torch.randn(count, data.state.shape[1], generator=generator)
    return _Sample(
        state=data.state[rows],
        images=None if data.images is None else data.images[rows],
        chunks=data.chunks[rows],
        noise=noise.to(device),
        direction=(direction / direction.norm(dim=1, keepdim=True)).to(device),
    )
