"""The training objective: noise prediction plus the dispersive term, from one forward pass."""

from dataclasses import dataclass

import torch
from torch import Tensor

from d2ppo_core.config import LossConfig, PretrainConfig
from d2ppo_core.losses.denoising import denoising_loss
from d2ppo_core.losses.dispersive import dispersion, dispersive_loss
from d2ppo_core.models.diffusion import DiffusionPolicy
from d2ppo_core.pretrain.batches import Batch


@dataclass(frozen=True)
class Objective:
    """Scalars to descend on and the features they came from."""

    total: Tensor
    denoising: Tensor
    dispersive: Tensor
    taps: dict[str, Tensor]
    """`encoder` (B, C), `early`, `mid`, `late` (B*M, hidden), attached to the graph."""


def _features(taps: dict[str, Tensor], eps: Tensor, loss: LossConfig) -> Tensor:
    if loss.official and loss.dispersive_tap in ("mid", "late"):
        return eps  # the published hooks return the network's output for both
    return taps[loss.dispersive_tap]


def _dispersive(features: Tensor, loss: LossConfig) -> Tensor:
    return dispersive_loss(
        features,
        loss.dispersive,
        temperature=loss.temperature,
        margin=loss.margin,
        per_dimension=not loss.official,
    )


def objective(policy: DiffusionPolicy, batch: Batch, config: PretrainConfig) -> Objective:
    """Encode each observation once and denoise all its (noise, t) pairs."""
    loss = config.loss
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=config.optim.precision == "bfloat16"):
        condition = policy.encode(batch.state, batch.images)
    condition = condition.float()
    repeated = condition.repeat_interleave(loss.noise_samples_per_obs, dim=0)
    noisy = policy.add_noise(batch.chunks, batch.eps, batch.t)
    eps, taps = policy.denoiser(noisy, batch.t, repeated)
    taps = {"encoder": condition, **taps}
    denoising = denoising_loss(eps, batch.eps)
    dispersive = _dispersive(_features(taps, eps, loss), loss)
    return Objective(denoising + loss.dispersive_weight * dispersive, denoising, dispersive, taps)


def dispersion_scalars(result: Objective, config: PretrainConfig) -> dict[str, float]:
    """How far apart the features of encoder and denoiser lie, and how hard the dispersive term pulls."""
    scalars = {}
    for tap in ("encoder", "mid"):
        distance, rank = dispersion(result.taps[tap].detach()[:256])
        scalars[f"dispersion/{tap}_distance"] = distance
        scalars[f"dispersion/{tap}_rank"] = rank
    if config.loss.dispersive != "none":
        leaf = _features(result.taps, result.taps["mid"], config.loss).detach().requires_grad_()
        (gradient,) = torch.autograd.grad(_dispersive(leaf, config.loss), leaf)
        scalars["dispersion/gradient_norm"] = float(gradient.norm())
    return scalars
