import csv
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from d2ppo_core.config import PretrainConfig
from d2ppo_core.config.schema import TAPS
from d2ppo_core.data.windows import load_windows
from d2ppo_core.losses.dispersive import dispersive_loss
from d2ppo_core.models.gaussian import GaussianPolicy
from d2ppo_core.pretrain.batches import draw_batch
from d2ppo_core.pretrain.checkpoint import load_checkpoint
from d2ppo_core.pretrain.objective import cloning_loss, denoise, encode, objective
from d2ppo_core.pretrain.run import pretrain
from d2ppo_core.pretrain.trainer import Trainer

Build = Callable[..., PretrainConfig]


def make_trainer(config: PretrainConfig, dataset: Path) -> Trainer:
    windows, validation = load_windows(dataset, config.data)
    return Trainer(config, windows, validation, {"sha256": "x"})


@pytest.mark.parametrize("learn_std", [False, True], ids=["fixed-std", "learned-std"])
@pytest.mark.parametrize("images", [False, True], ids=["state", "image"])
def test_training_lowers_the_loss(
    dataset: Path, tiny_config: Build, tmp_path: Path, images: bool, learn_std: bool
) -> None:
    config = tiny_config(
        images=images,
        model={"kind": "gaussian", "gaussian": {"learn_std": learn_std}},
        optim={"steps": 60, "lr": 3e-3, "log_every": 5, "validate_every": 5},
        data={"validation_episodes": 1},
    )
    pretrain(config, dataset, tmp_path / "run", progress=False)
    with (tmp_path / "run" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    losses = [float(row["losses/denoising"]) for row in rows]
    fallen = losses[0] - sum(losses[-3:]) / 3
    assert fallen > (1.0 if learn_std else 0.15 * losses[0]), losses
    assert all(math.isfinite(float(row["losses/validation"])) for row in rows)
    saved = load_checkpoint(tmp_path / "run")
    assert ("raw_std" in saved.ema) == learn_std
    if learn_std:
        assert not torch.equal(saved.model["raw_std"], torch.zeros_like(saved.model["raw_std"]))


def test_the_loss_is_that_of_the_mean_against_each_observations_own_chunk(dataset: Path, tiny_config: Build) -> None:
    config = tiny_config(model={"kind": "gaussian"}, loss={"noise_samples_per_obs": 3})
    trainer = make_trainer(config, dataset)
    policy, batch = trainer.policy, draw_batch(trainer.data, config, 0)
    assert isinstance(policy, GaussianPolicy) and len(batch.chunks) == 3 * len(batch.state)
    found = objective(policy, batch, config, tap="", weight=0.0)
    mean = policy.mean(batch.state)[0]
    rows = [trainer.data.chunks[(trainer.data.state == state).all(1).nonzero()[0, 0]] for state in batch.state]
    torch.testing.assert_close(found.total, (mean - torch.stack(rows)).square().mean())
    assert found.dispersive == 0


@pytest.mark.parametrize("tap", TAPS)
def test_the_dispersive_term_takes_its_features_from_the_same_pass(dataset: Path, tiny_config: Build, tap: str) -> None:
    config = tiny_config(images=True, model={"kind": "gaussian"}, loss={"dispersive_tap": tap})
    trainer = make_trainer(config, dataset)
    batch, policy = draw_batch(trainer.data, config, 0), trainer.policy
    condition = encode(policy, batch.state, batch.images, config)
    predicted, taps = denoise(policy, batch, condition, tap=tap)
    found = objective(policy, batch, config, tap=tap, weight=0.5)
    term = dispersive_loss(taps[tap], "infonce_l2", temperature=config.loss.temperature)
    torch.testing.assert_close(found.dispersive, term)
    torch.testing.assert_close(found.total, cloning_loss(policy, predicted, batch) + 0.5 * term)
    assert len(taps[tap]) == len(batch.state)


def test_a_resumed_run_ends_with_the_same_bits(dataset: Path, tiny_config: Build) -> None:
    config = tiny_config(model={"kind": "gaussian", "gaussian": {"learn_std": True}})
    whole, part = make_trainer(config, dataset), make_trainer(config, dataset)
    for _ in range(3):
        whole.train_step(detailed=False)
        part.train_step(detailed=False)
    resumed = make_trainer(replace(config), dataset)
    resumed.restore(part.checkpoint())
    for _ in range(3):
        whole.train_step(detailed=False)
        resumed.train_step(detailed=False)
    for a, b in zip(whole.policy.parameters(), resumed.policy.parameters(), strict=True):
        assert torch.equal(a, b)
