"""What the denoiser's first layer is made of: how large it is, and how much of it time and observation account for.

A term that pushes features apart finds it cheapest to let them grow along the time step; the policy then hears less of
the observation. These figures show it.
"""

import torch
from torch import Tensor

from d2ppo_core.models.diffusion import DiffusionPolicy
from d2ppo_core.models.policy import ChunkPolicy
from d2ppo_core.pretrain.batches import Batch

COLUMNS = ("first_layer/rms", "first_layer/time_share", "first_layer/observation_share")


@torch.no_grad()
def first_layer(policy: ChunkPolicy, batch: Batch) -> dict[str, float]:
    """RMS of the centred first hidden activation over a batch, and shares of its variance, by name of COLUMNS.

    The layer adds up a part of the noisy chunk, one of the time step and one of the observation; a part's share is its
    variance over the batch (summed over the width) among those of the three. Empty for a policy without time steps.
    """
    if not isinstance(policy, DiffusionPolicy):
        return {}
    net = policy.denoiser
    condition = policy.encode(batch.state, batch.images)
    condition = condition.repeat_interleave(len(batch.t) // len(condition), dim=0)
    inputs = (policy.add_noise(batch.chunks, batch.eps, batch.t), net.time(batch.t), condition)
    weights = torch.split(net.input.weight, [part.shape[1] for part in inputs], dim=1)
    parts = [part @ weight.T for part, weight in zip(inputs, weights, strict=True)]
    chunk, time, observation = (float(_spread(part)) for part in parts)
    whole = chunk + time + observation
    rms = float((_spread(torch.stack(parts).sum(0)) / net.hidden_dim).sqrt())
    return dict(zip(COLUMNS, (rms, time / whole, observation / whole), strict=True))


def _spread(part: Tensor) -> Tensor:
    """Variance over the batch, summed over the width, of (B, D)."""
    return part.var(dim=0, correction=0).sum()
