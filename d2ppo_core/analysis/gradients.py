"""How hard each term of the objective pulls at each layer."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from d2ppo_core.analysis.samples import Sample
from d2ppo_core.config import LossConfig, PretrainConfig
from d2ppo_core.models.diffusion import DiffusionPolicy
from d2ppo_core.pretrain.batches import Batch, Tensors, draw_batch
from d2ppo_core.pretrain.checkpoint import Checkpoint
from d2ppo_core.pretrain.objective import objective

EVERY_LAYER = "all layers"
_STEP = 0
"""Batch that is drawn; any would do, as long as it stays the same."""


@dataclass(frozen=True, kw_only=True)
class LayerGradient:
    """Gradient of both terms with respect to the parameters of one layer."""

    layer: str
    denoising: float
    """Norm of the gradient of the noise-prediction loss."""
    dispersive: float
    """Norm of the gradient of lambda times the dispersive loss; 0 where the term does not reach the layer."""
    cosine: float
    """Of the angle between both; -1 when they work against each other, NaN where one of them is 0."""


@dataclass(frozen=True, kw_only=True)
class DispersiveTerm:
    """The term of a run as it stood at the checkpoint, or the default one where the run had none."""

    loss: LossConfig
    tap: str
    weight: float
    """λ."""
    trained: bool
    """Whether the run trained with it."""


def dispersive_term_of(saved: Checkpoint) -> DispersiveTerm:
    """Which features the run pushed apart at the end, and how hard."""
    loss = saved.config.loss
    if loss.active:
        return DispersiveTerm(loss=loss, tap=loss.dispersive_tap, weight=loss.dispersive_weight, trained=True)
    default = LossConfig()
    return DispersiveTerm(loss=default, tap=default.dispersive_tap, weight=default.dispersive_weight, trained=False)


def fixed_batch(sample: Sample, config: PretrainConfig) -> Batch:
    """A batch of the sample as training draws it, without augmentation."""
    quiet = replace(config, data=replace(config.data, random_shift_px=0, state_noise_std=0.0))
    data = Tensors(
        state=torch.from_numpy(sample.state),
        chunks=torch.from_numpy(sample.chunks).flatten(1),
        images=None if sample.images is None else torch.from_numpy(sample.images),
    )
    return draw_batch(data, quiet, _STEP)


def layer_gradients(
    policy: DiffusionPolicy, batch: Batch, config: PretrainConfig, term: DispersiveTerm
) -> tuple[LayerGradient, ...]:
    """Gradients of both terms by layer, in the order of the network, and over all of them; changes nothing."""
    exact = replace(
        config,
        loss=replace(term.loss, noise_samples_per_obs=config.loss.noise_samples_per_obs),
        optim=replace(config.optim, precision="float32", compile=False),
    )
    result = objective(policy, batch, exact, tap=term.tap, weight=term.weight)
    parameters = dict(policy.named_parameters())
    denoising = _gradient(result.denoising, parameters)
    dispersive = _gradient(term.weight * result.dispersive, parameters)
    return tuple(
        LayerGradient(
            layer=layer,
            denoising=_norm(denoising, names),
            dispersive=_norm(dispersive, names),
            cosine=_cosine(denoising, dispersive, names),
        )
        for layer, names in (_layers(parameters) | {EVERY_LAYER: list(parameters)}).items()
    )


def _layers(parameters: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """Weights and biases by the module that they belong to."""
    found: dict[str, list[str]] = {}
    for name in parameters:
        module, _, leaf = name.rpartition(".")
        found.setdefault(module if leaf in ("weight", "bias") else name, []).append(name)
    return found


def _gradient(loss: Tensor, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gradient by parameter; zeros where the loss does not depend on it."""
    if not loss.requires_grad:
        return {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    values = torch.autograd.grad(loss, list(parameters.values()), retain_graph=True, materialize_grads=True)
    return dict(zip(parameters, values, strict=True))


def _norm(gradient: Mapping[str, Tensor], names: list[str]) -> float:
    return float(torch.cat([gradient[name].flatten() for name in names]).norm())


def _cosine(one: Mapping[str, Tensor], other: Mapping[str, Tensor], names: list[str]) -> float:
    a, b = (torch.cat([gradient[name].flatten() for name in names]).double() for gradient in (one, other))
    scale = float(a.norm() * b.norm())
    return float(a @ b) / scale if scale > 0 else float("nan")
