"""What the features of a policy look like during training, at every tap."""

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn

from d2ppo_core.config import LossConfig, PretrainConfig
from d2ppo_core.config.schema import TAPS
from d2ppo_core.losses.dispersive import dispersion
from d2ppo_core.models.policy import ChunkPolicy
from d2ppo_core.pretrain.batches import Batch
from d2ppo_core.pretrain.objective import denoise, dispersive_term, encode

QUANTITIES = ("loss", "gradient_encoder", "gradient_denoiser", "distance", "rank")
COLUMNS = tuple(f"dispersion/{tap}_{quantity}" for tap in TAPS for quantity in QUANTITIES)
_MAX_OBSERVATIONS, _MAX_ROWS = 128, 256


def _first_observations(batch: Batch, count: int) -> Batch:
    """The first `count` observations of a batch with all their pairs."""
    rows = count * (len(batch.t) // len(batch.state))
    return replace(
        batch,
        state=batch.state[:count],
        images=None if batch.images is None else batch.images[:count],
        images_again=None,
        chunks=batch.chunks[:rows],
        eps=batch.eps[:rows],
        t=batch.t[:rows],
    )


def _gradient_norm(term: Tensor, parameters: Iterable[nn.Parameter]) -> float:
    """Norm of d term / d parameters; 0 where they have no part in it."""
    wanted = list(parameters)
    if not wanted or not term.requires_grad:
        return 0.0
    found = torch.autograd.grad(term, wanted, retain_graph=True, allow_unused=True)
    norms = [gradient.norm() for gradient in found if gradient is not None]
    return float(torch.stack(norms).norm()) if norms else 0.0


def _without_time(loss: LossConfig) -> LossConfig:
    """For the encoder, whose features have none."""
    return replace(loss, dispersive_equal_t=False)


def dispersion_scalars(policy: ChunkPolicy, batch: Batch, config: PretrainConfig) -> dict[str, float]:
    """Loss, gradient norms, mean pairwise distance and effective rank at all taps, by name of COLUMNS.

    The gradients are those of the unweighted term with respect to the parameters of encoder and denoiser. All of it is
    measured on the first observations of the batch in a pass of its own, so logging does not change the training.
    Without a dispersive loss (`none`) distance and rank remain.
    """
    few = _first_observations(batch, _MAX_OBSERVATIONS)
    _, taps = denoise(policy, few, encode(policy, few.state, few.images, config), tap="late")
    scalars: dict[str, float] = {}
    for tap in TAPS:
        z = taps[tap]
        name = f"dispersion/{tap}"
        scalars[f"{name}_distance"], scalars[f"{name}_rank"] = dispersion(z.detach()[:_MAX_ROWS])
        if config.loss.dispersive != "none":
            term = dispersive_term(z, few.t, _without_time(config.loss) if tap == "encoder" else config.loss)
            scalars[f"{name}_loss"] = float(term.detach())
            scalars[f"{name}_gradient_encoder"] = _gradient_norm(term, policy.encoder.parameters())
            scalars[f"{name}_gradient_denoiser"] = _gradient_norm(term, policy.trunk.parameters())
    return scalars
