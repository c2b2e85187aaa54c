import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from d2ppo_core.analysis.features import policies
from d2ppo_core.analysis.gradients import (
    EVERY_LAYER,
    LayerGradient,
    dispersive_term_of,
    fixed_batch,
    layer_gradients,
)
from d2ppo_core.analysis.samples import Sample, draw_sample
from d2ppo_core.config import PretrainConfig
from d2ppo_core.pretrain.checkpoint import Checkpoint, load_checkpoint
from d2ppo_core.pretrain.objective import objective
from d2ppo_core.pretrain.run import pretrain


def by_layer(saved: Checkpoint, sample: Sample, weight: float | None = None) -> dict[str, LayerGradient]:
    term = dispersive_term_of(saved)
    if weight is not None:
        term = dataclasses.replace(term, weight=weight)
    found = layer_gradients(policies(saved)["trained"], fixed_batch(sample, saved.config), saved.config, term)
    return {gradient.layer: gradient for gradient in found}


def test_both_terms_together_are_the_gradient_of_the_training_loss(saved: Checkpoint, sample: Sample) -> None:
    policy, batch = policies(saved)["trained"], fixed_batch(sample, saved.config)
    total = objective(policy, batch, saved.config, tap="mid", weight=0.5).total
    total.backward()
    wanted = torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None]).norm()
    every = by_layer(saved, sample)[EVERY_LAYER]
    cross = 2 * every.cosine * every.denoising * every.dispersive
    assert math.sqrt(every.denoising**2 + every.dispersive**2 + cross) == pytest.approx(float(wanted), rel=1e-4)


def test_the_term_at_mid_reaches_the_layers_before_it_and_none_behind(saved: Checkpoint, sample: Sample) -> None:
    layers = by_layer(saved, sample)
    assert list(layers) == [
        "denoiser.time.expand",
        "denoiser.time.project",
        "denoiser.input",
        "denoiser.residual_in",
        "denoiser.residual_out",
        "denoiser.output",
        EVERY_LAYER,
    ]
    assert layers["denoiser.residual_in"].dispersive > 0 and -1 <= layers["denoiser.residual_in"].cosine <= 1
    for behind in ("denoiser.residual_out", "denoiser.output"):
        assert layers[behind].dispersive == 0 and math.isnan(layers[behind].cosine) and layers[behind].denoising > 0
    squares = sum(gradient.denoising**2 for name, gradient in layers.items() if name != EVERY_LAYER)
    assert layers[EVERY_LAYER].denoising == pytest.approx(math.sqrt(squares), rel=1e-5)


def test_the_dispersive_gradient_counts_with_its_weight(saved: Checkpoint, sample: Sample) -> None:
    half, double = by_layer(saved, sample, 0.5)[EVERY_LAYER], by_layer(saved, sample, 1.0)[EVERY_LAYER]
    assert double.dispersive == pytest.approx(2 * half.dispersive, rel=1e-5)
    assert double.denoising == half.denoising


def test_a_run_without_the_term_is_shown_what_the_default_one_would_do(saved: Checkpoint, sample: Sample) -> None:
    loss = dataclasses.replace(saved.config.loss, dispersive="none")
    without = dataclasses.replace(saved, config=dataclasses.replace(saved.config, loss=loss))
    term = dispersive_term_of(without)
    assert not term.trained and term.loss.dispersive == "infonce_l2"
    assert by_layer(without, sample)["denoiser.input"].dispersive > 0


def test_the_published_variant_is_measured_as_it_trains(
    dataset: Path, tiny_config: Callable[..., PretrainConfig], tmp_path: Path
) -> None:
    loss = {"dispersive_form": "published", "dispersive_tap": "late", "noise_samples_per_obs": 1}
    pretrain(tiny_config(images=True, optim={"steps": 1}, loss=loss), dataset, tmp_path, progress=False)
    saved = load_checkpoint(tmp_path)
    layers = by_layer(saved, draw_sample(dataset, saved, size=12, seed=0))
    assert layers["denoiser.output"].dispersive > 0  # its `late` is the predicted noise


def test_the_encoder_of_an_image_policy_is_reached(
    dataset: Path, tiny_config: Callable[..., PretrainConfig], tmp_path: Path
) -> None:
    pretrain(tiny_config(images=True, optim={"steps": 1}), dataset, tmp_path, progress=False)
    saved = load_checkpoint(tmp_path)
    layers = by_layer(saved, draw_sample(dataset, saved, size=12, seed=0))
    assert layers["encoder.vit.stem.patch"].dispersive > 0 and layers["encoder.vit.position"].denoising > 0
    assert layers["denoiser.input"].dispersive == 0
