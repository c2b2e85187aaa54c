import csv
import dataclasses
import math
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from d2ppo_core.config import OptimConfig, PretrainConfig, load_config
from d2ppo_core.data.windows import load_windows
from d2ppo_core.errors import DataError, TrainingError
from d2ppo_core.pretrain import trainer as trainer_module
from d2ppo_core.pretrain.checkpoint import load_checkpoint
from d2ppo_core.pretrain.trainer import Trainer, learning_rate, pretrain

Build = Callable[..., PretrainConfig]


def flat(state: object) -> list[torch.Tensor]:
    if isinstance(state, torch.Tensor):
        return [state]
    values = state.values() if isinstance(state, dict) else state if isinstance(state, list) else []
    return [tensor for value in values for tensor in flat(value)]


def make_trainer(config: PretrainConfig, dataset: Path) -> Trainer:
    windows, validation = load_windows(dataset, config.data)
    return Trainer(config, windows, validation, {"sha256": "x"})


def test_learning_rate_warms_up_and_falls_to_its_end() -> None:
    optim = OptimConfig(steps=100, lr=1.0, lr_final=0.1, warmup_steps=10)
    assert learning_rate(optim, 0) == pytest.approx(0.1)
    assert learning_rate(optim, 9) == pytest.approx(1.0)
    assert learning_rate(optim, 55) == pytest.approx(0.55)
    assert learning_rate(optim, 100) == pytest.approx(0.1)


@pytest.mark.parametrize("images", [False, True])
def test_training_lowers_the_loss_and_leaves_its_files(
    dataset: Path, tiny_config: Build, tmp_path: Path, images: bool
) -> None:
    config = tiny_config(
        images=images, optim={"steps": 60, "lr": 3e-3, "log_every": 5}, data={"validation_episodes": 1}
    )
    outcome = pretrain(config, dataset, tmp_path / "run", progress=False)
    assert outcome.finished and outcome.step == 60 and outcome.elapsed_s > 0
    with (tmp_path / "run" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    losses = [float(row["losses/denoising"]) for row in rows]
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])
    assert math.isfinite(float(rows[-1]["losses/validation"]))
    assert float(rows[-1]["dispersion/encoder_rank"]) > 1
    assert load_config(tmp_path / "run" / "config.yaml") == config
    assert load_checkpoint(tmp_path / "run").dataset["num_episodes"] == 5


@pytest.mark.parametrize("images", [False, True])
def test_a_resumed_run_ends_with_the_same_bits(
    dataset: Path, tiny_config: Build, tmp_path: Path, images: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(images=images, optim={"steps": 9}, data={"state_noise_std": 0.05})
    pretrain(config, dataset, tmp_path / "whole", progress=False)
    step = Trainer.train_step

    def killed_at_five(self: Trainer, *, detailed: bool) -> dict[str, float]:
        if self.step == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, detailed=detailed)

    monkeypatch.setattr(Trainer, "train_step", killed_at_five)
    stopped = pretrain(config, dataset, tmp_path / "parts", progress=False)
    assert (stopped.step, stopped.finished) == (5, False)
    monkeypatch.undo()
    torch.manual_seed(12345)  # whatever happens in between must not matter
    assert pretrain(config, dataset, tmp_path / "parts", resume=True, progress=False).finished
    whole, parts = load_checkpoint(tmp_path / "whole"), load_checkpoint(tmp_path / "parts")
    for name in ("model", "ema", "optimizer"):
        wanted, got = flat(getattr(whole, name)), flat(getattr(parts, name))
        assert len(wanted) == len(got) > 0
        assert all(torch.equal(a, b) for a, b in zip(wanted, got, strict=True)), name


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(
    dataset: Path, tiny_config: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(optim={"steps": 20, "checkpoint_every_s": 0.0})
    draw = trainer_module.draw_batch

    def poisoned(data: object, config: PretrainConfig, step: int) -> object:
        batch = draw(data, config, step)  # type: ignore[arg-type]
        if step == 7:
            batch.state[0, 0] = math.nan
        return batch

    monkeypatch.setattr(trainer_module, "draw_batch", poisoned)
    with pytest.raises(TrainingError, match=r"the loss is nan at step 8; last good checkpoint: step 7 is in"):
        pretrain(config, dataset, tmp_path / "run", progress=False)
    saved = load_checkpoint(tmp_path / "run")
    assert saved.step == 7
    assert all(torch.isfinite(tensor).all() for tensor in flat(saved.model))


def test_a_run_is_not_overwritten_by_accident(dataset: Path, tiny_config: Build, tmp_path: Path) -> None:
    pretrain(tiny_config(optim={"steps": 1}), dataset, tmp_path, progress=False)
    with pytest.raises(TrainingError, match="already holds a run; continue it with --resume"):
        pretrain(tiny_config(optim={"steps": 1}), dataset, tmp_path, progress=False)


def test_resuming_with_another_configuration_is_refused(dataset: Path, tiny_config: Build, tmp_path: Path) -> None:
    pretrain(tiny_config(optim={"steps": 1}), dataset, tmp_path, progress=False)
    with pytest.raises(TrainingError, match="another configuration"):
        pretrain(tiny_config(optim={"steps": 1, "lr": 1e-5}), dataset, tmp_path, resume=True, progress=False)


def test_resuming_on_other_data_is_refused(dataset: Path, tiny_config: Build, tmp_path: Path) -> None:
    trainer = make_trainer(tiny_config(), dataset)
    saved = trainer.checkpoint()
    trainer.dataset = {"sha256": "y"}
    with pytest.raises(TrainingError, match="another dataset"):
        trainer.restore(saved)


def test_a_dataset_of_another_task_is_refused_before_anything_is_written(
    dataset: Path, tiny_config: Build, tmp_path: Path
) -> None:
    config = dataclasses.replace(tiny_config(), task="can")
    with pytest.raises(DataError, match="must hold PickPlaceCan demonstrations, got Lift"):
        pretrain(config, dataset, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_the_seed_decides_the_weights(dataset: Path, tiny_config: Build) -> None:
    def trained(seed: int) -> torch.Tensor:
        trainer = make_trainer(tiny_config(seed=seed), dataset)
        trainer.train_step(detailed=False)
        return trainer.policy.denoiser.output.weight.detach().clone()

    assert torch.equal(trained(0), trained(0))
    assert not torch.equal(trained(0), trained(1))


def test_training_works_outside_of_the_main_thread(dataset: Path, tiny_config: Build, tmp_path: Path) -> None:
    done: list[bool] = []
    config = tiny_config(optim={"steps": 1})
    thread = threading.Thread(target=lambda: done.append(pretrain(config, dataset, tmp_path, progress=False).finished))
    thread.start()
    deadline_s = time.monotonic() + 30
    while thread.is_alive() and time.monotonic() < deadline_s:
        thread.join(0.1)
    assert done == [True]
