import dataclasses
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from d2ppo_core.config import OptimConfig, PretrainConfig
from d2ppo_core.data.windows import load_windows
from d2ppo_core.errors import ConfigError, TrainingError
from d2ppo_core.pretrain.distributed import Processes
from d2ppo_core.pretrain.trainer import Trainer, learning_rate

Build = Callable[..., PretrainConfig]


def make_trainer(config: PretrainConfig, dataset: Path) -> Trainer:
    windows, validation = load_windows(dataset, config.data)
    return Trainer(config, windows, validation, {"sha256": "x"})


def test_learning_rate_warms_up_and_falls_to_its_end() -> None:
    optim = OptimConfig(steps=100, lr=1.0, lr_final=0.1, warmup_steps=10)
    assert learning_rate(optim, 0) == pytest.approx(0.1)
    assert learning_rate(optim, 9) == pytest.approx(1.0)
    assert learning_rate(optim, 55) == pytest.approx(0.55)
    assert learning_rate(optim, 100) == pytest.approx(0.1)


def test_resuming_on_other_data_is_refused(dataset: Path, tiny_config: Build, tmp_path: Path) -> None:
    trainer = make_trainer(tiny_config(), dataset)
    saved = trainer.checkpoint()
    trainer.dataset = {"sha256": "y"}
    with pytest.raises(TrainingError, match="another dataset"):
        trainer.restore(saved)


def test_the_seed_decides_the_weights(dataset: Path, tiny_config: Build) -> None:
    def trained(seed: int) -> torch.Tensor:
        trainer = make_trainer(tiny_config(seed=seed), dataset)
        trainer.train_step(detailed=False)
        return trainer.policy.denoiser.output.weight.detach().clone()

    assert torch.equal(trained(0), trained(0))
    assert not torch.equal(trained(0), trained(1))


def trained_weights(trainer: Trainer, steps: int, *, detailed: bool = False) -> list[torch.Tensor]:
    for _ in range(steps):
        trainer.train_step(detailed=detailed)
    return [parameter.detach().clone() for parameter in trainer.policy.parameters()]


@pytest.mark.parametrize("images", [False, True])
def test_logging_does_not_change_the_training(dataset: Path, tiny_config: Build, images: bool) -> None:
    plain = trained_weights(make_trainer(tiny_config(images=images), dataset), 3)
    logged = trained_weights(make_trainer(tiny_config(images=images), dataset), 3, detailed=True)
    assert all(torch.equal(a, b) for a, b in zip(plain, logged, strict=True))


def test_another_configuration_is_refused_by_the_values_that_differ(dataset: Path, tiny_config: Build) -> None:
    saved = make_trainer(tiny_config(), dataset).checkpoint()
    other = make_trainer(tiny_config(optim={"lr": 0.5}, model={"hidden_dim": 16}), dataset)
    with pytest.raises(
        TrainingError,
        match=r"\(model.hidden_dim 32, now 16; optim.lr 0.001, now 0.5\); leave out --config.* use another",
    ):
        other.restore(saved)


def test_how_often_to_log_and_where_to_compute_may_change(dataset: Path, tiny_config: Build) -> None:
    saved = make_trainer(tiny_config(), dataset).checkpoint()
    make_trainer(tiny_config(optim={"log_every": 7, "threads": 2, "checkpoint_every_s": 5.0}), dataset).restore(saved)


def test_a_batch_that_cannot_be_shared_equally_is_refused(dataset: Path, tiny_config: Build) -> None:
    windows, _ = load_windows(dataset, tiny_config().data)
    with pytest.raises(ConfigError, match="optim.batch_size: wanted a multiple of 3 processes, got 8"):
        Trainer(tiny_config(), windows, None, {}, processes=Processes(rank=0, world=3))


def test_cuda_is_refused_where_torch_sees_none(
    dataset: Path, tiny_config: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="optim.device: wanted cuda, but torch .* sees no CUDA device"):
        make_trainer(tiny_config(optim={"device": "cuda"}), dataset)


def test_half_precision_is_for_training_only(dataset: Path, tiny_config: Build) -> None:
    trainer = make_trainer(tiny_config(optim={"precision": "bfloat16"}), dataset)
    assert trainer.policy.denoiser.half_products and not trainer.averaged.denoiser.half_products
    assert math.isfinite(trainer.train_step(detailed=True)["losses/total"])
    assert {p.dtype for p in trainer.policy.parameters()} == {torch.float32}


def test_compiling_needs_a_compiler(dataset: Path, tiny_config: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(ConfigError, match="optim.compile: wanted a C\\+\\+ compiler"):
        make_trainer(tiny_config(optim={"compile": True}), dataset)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_a_compiled_step_descends_as_the_plain_one(dataset: Path, tiny_config: Build) -> None:
    plain = trained_weights(make_trainer(tiny_config(), dataset), 2)
    compiled = trained_weights(make_trainer(tiny_config(optim={"compile": True}), dataset), 2)
    for a, b in zip(compiled, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=2e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("optim", [{}, {"precision": "bfloat16"}, {"compile": True}])
def test_a_gpu_step_descends_as_one_on_the_cpu(dataset: Path, tiny_config: Build, optim: dict[str, object]) -> None:
    plain = make_trainer(tiny_config(images=True), dataset)
    gpu = make_trainer(tiny_config(images=True, optim={"device": "cuda", **optim}), dataset)
    for _ in range(3):
        wanted, got = plain.train_step(detailed=True), gpu.train_step(detailed=True)
        tolerance = 0.05 if optim.get("precision") else 1e-3
        assert got["losses/denoising"] == pytest.approx(wanted["losses/denoising"], rel=tolerance)
        assert got["losses/dispersive"] == pytest.approx(wanted["losses/dispersive"], rel=tolerance)
    restored = make_trainer(dataclasses.replace(plain.config), dataset)
    restored.restore(dataclasses.replace(gpu.checkpoint(), config=plain.config))
    assert restored.step == 3
