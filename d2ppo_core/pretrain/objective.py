"""The training objective: noise prediction plus the dispersive term, from one forward pass.

With `loss.dispersive_form=published` the term is what the published code computes, step cost included. Reproduced are:
distances not divided by D, covariances with their diagonal, its taps and its second pass. Its hooks count four modules
(input layer, residual block, output layer, an identity), so `early` is what is called `late` here, and `mid` and `late`
both are the predicted noise. At `early` its distances are so large that the gradient vanishes (1e-5 ... 1e-15 of the
noise loss's): that tap acts as no term at all. Its features come from a second pass through the whole network with the
same noise and time steps but newly shifted images, so the noise loss never sees those features. A state policy has no
images to shift: its second pass would repeat the first one to the bit and is left out here.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from d2ppo_core.config import LossConfig, PretrainConfig
from d2ppo_core.config.schema import TAPS
from d2ppo_core.losses.denoising import denoising_loss
from d2ppo_core.losses.dispersive import dispersive_loss
from d2ppo_core.models.diffusion import DiffusionPolicy
from d2ppo_core.models.gaussian import GaussianPolicy
from d2ppo_core.models.policy import ChunkPolicy
from d2ppo_core.pretrain.batches import Batch
from d2ppo_core.pretrain.distributed import ALONE, Processes

OFF = ""
"""Tap without the term."""
_BEFORE_THE_BLOCK = (OFF, "encoder", "early", "mid")
"""What can be tapped without the product that the collapsed denoiser saves."""


@dataclass(frozen=True)
class Objective:
    """Scalars to descend on and the features that the dispersive term saw."""

    total: Tensor
    denoising: Tensor
    dispersive: Tensor
    features: Tensor | None
    """Of the chosen tap, attached to the graph: `encoder` (B, C), the others (B*M, hidden); None without the term."""


def learning_taps(config: PretrainConfig) -> tuple[str, ...]:
    """Taps that training can move: the encoder of a state policy hands the raw state on."""
    return TAPS if config.data.image_keys else TAPS[1:]


def encode(policy: ChunkPolicy, state: Tensor, images: Tensor | None, config: PretrainConfig) -> Tensor:
    """Conditions (B, C) in float32, computed in the configured precision."""
    half = config.optim.precision == "bfloat16"
    with torch.autocast(state.device.type, dtype=torch.bfloat16, enabled=half):
        return policy.encode(state, images).float()


def denoise(policy: ChunkPolicy, batch: Batch, condition: Tensor, *, tap: str) -> tuple[Tensor, Mapping[str, Tensor]]:
    """Predict the noise of all pairs, with the arithmetic that `tap` needs and no more.

    condition (B, C) -> noise (B*M, Tp*Da) and the taps at hand, `encoder` among them. A Gaussian policy predicts the
    chunk itself, (B, Tp*Da), once per observation.
    """
    if isinstance(policy, GaussianPolicy):
        mean, taps = policy.mean(condition)
        return mean, {"encoder": condition, **taps}
    assert isinstance(policy, DiffusionPolicy)
    samples = len(batch.t) // len(condition)
    repeated = condition if samples == 1 else condition.repeat_interleave(samples, dim=0)
    noisy = policy.add_noise(batch.chunks, batch.eps, batch.t)
    if tap in _BEFORE_THE_BLOCK:
        eps, taps = policy.denoiser.collapse(policy.num_train_steps).with_taps(noisy, batch.t, repeated)
    else:
        eps, taps = policy.denoiser(noisy, batch.t, repeated)
    return eps, {"encoder": condition, **taps}


def cloning_loss(policy: ChunkPolicy, predicted: Tensor, batch: Batch) -> Tensor:
    """Mean error of what `denoise` predicted: of the noise, or of the chunk where the policy is a Gaussian."""
    if isinstance(policy, GaussianPolicy):
        return policy.errors(predicted, batch.chunks[:: len(batch.t) // len(predicted)]).mean()
    return denoising_loss(predicted, batch.eps)


def dispersive_term(z: Tensor, t: Tensor, loss: LossConfig, processes: Processes = ALONE) -> Tensor:
    """The configured loss of features z (R, D) of the whole batch; t (R,) are their time steps."""
    return dispersive_loss(
        processes.gather(z),
        loss.dispersive,
        form=loss.dispersive_form,
        groups=processes.gather(t) if loss.dispersive_equal_t else None,
        temperature=loss.temperature,
        margin=loss.margin,
    )


def objective(
    policy: ChunkPolicy,
    batch: Batch,
    config: PretrainConfig,
    *,
    tap: str,
    weight: float | Tensor,
    processes: Processes = ALONE,
) -> Objective:
    """Encode each observation once, denoise all its (noise, t) pairs, and push the features of `tap` apart.

    Args:
        policy: The policy.
        batch: This process's share of the batch.
        config: The run.
        tap: One of TAPS, or OFF.
        weight: λ.
        processes: Among which the batch is shared.
    """
    loss = config.loss
    condition = encode(policy, batch.state, batch.images, config)
    if tap and loss.published:
        denoising, z = _published(policy, batch, condition, config, tap)
    else:
        predicted, taps = denoise(policy, batch, condition, tap=tap)
        denoising = cloning_loss(policy, predicted, batch)
        if not tap:
            return Objective(denoising, denoising, denoising.new_zeros(()), None)
        z = taps[tap]
    dispersive = processes.whole_batch(dispersive_term(z, batch.t, loss, processes))
    return Objective(denoising + weight * dispersive, denoising, dispersive, z)


def _published(
    policy: ChunkPolicy, batch: Batch, condition: Tensor, config: PretrainConfig, tap: str
) -> tuple[Tensor, Tensor]:
    """Noise loss and tapped features as in the published code."""
    once = batch.images_again is None
    eps, taps = denoise(policy, batch, condition, tap="late" if once else OFF)
    denoising = denoising_loss(eps, batch.eps)
    if not once:
        again = encode(policy, batch.state, batch.images_again, config)
        eps, taps = denoise(policy, batch, again, tap="late")
    return denoising, taps["late"] if tap == "early" else eps
