import csv
import dataclasses
import itertools
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from d2ppo_core.config import PretrainConfig, load_config, save_config
from d2ppo_core.errors import DataError, TrainingError
from d2ppo_core.pretrain import run as run_module
from d2ppo_core.pretrain import trainer as trainer_module
from d2ppo_core.pretrain.checkpoint import FILE_NAME, load_checkpoint
from d2ppo_core.pretrain.distributed import Processes
from d2ppo_core.pretrain.failures import BAD_BATCH
from d2ppo_core.pretrain.run import pretrain
from d2ppo_core.pretrain.trainer import Trainer

Build = Callable[..., PretrainConfig]


def flat(state: object) -> list[torch.Tensor]:
    if isinstance(state, torch.Tensor):
        return [state]
    values = state.values() if isinstance(state, dict) else state if isinstance(state, list) else []
    return [tensor for value in values for tensor in flat(value)]


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("images", [False, True])
def test_training_lowers_the_loss_and_leaves_its_files(
    dataset: Path, tiny_config: Build, tmp_path: Path, images: bool
) -> None:
    config = tiny_config(
        images=images, optim={"steps": 120, "lr": 3e-3, "log_every": 5}, data={"validation_episodes": 1}
    )
    outcome = pretrain(config, dataset, tmp_path / "run", progress=False)
    assert outcome.finished and outcome.step == 120 and outcome.elapsed_s > 0
    logged = rows(tmp_path / "run")
    losses = [float(row["losses/denoising"]) for row in logged]
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])
    assert math.isfinite(float(logged[-1]["losses/validation"]))
    for tap in ("encoder", "early", "mid", "late"):
        assert float(logged[-1][f"dispersion/{tap}_rank"]) > 1
        assert math.isfinite(float(logged[-1][f"dispersion/{tap}_gradient_denoiser"]))
    assert load_config(tmp_path / "run" / "config.yaml") == config
    assert load_checkpoint(tmp_path / "run").dataset["num_episodes"] == 5


@pytest.mark.parametrize(
    ("images", "loss"),
    [
        (False, {}),
        (True, {}),
        (False, {"dispersive_equal_t": True}),
        (True, {"dispersive_tap": "late", "dispersive_form": "published", "noise_samples_per_obs": 1}),
    ],
)
def test_a_resumed_run_ends_with_the_same_bits(
    dataset: Path,
    tiny_config: Build,
    tmp_path: Path,
    images: bool,
    loss: dict[str, object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = tiny_config(images=images, optim={"steps": 9}, data={"state_noise_std": 0.05}, loss=loss)
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


def poisoned(monkeypatch: pytest.MonkeyPatch, bad_step: int) -> None:
    """From now on the batch of a step holds a state that is not a number."""
    draw = trainer_module.draw_batch

    def draw_bad(data: object, config: PretrainConfig, step: int, *more: object) -> object:
        batch = draw(data, config, step, *more)  # type: ignore[arg-type]
        if step == bad_step:
            batch.state[0, 0] = math.nan
        return batch

    monkeypatch.setattr(trainer_module, "draw_batch", draw_bad)
    monkeypatch.setattr(run_module, "draw_batch", draw_bad)


def test_a_loss_that_is_not_finite_stops_keeps_the_last_good_checkpoint_and_shows_its_batch(
    dataset: Path, tiny_config: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poisoned(monkeypatch, 7)
    config, out = tiny_config(optim={"steps": 20, "checkpoint_every_s": 0.0}), tmp_path / "run"
    with pytest.raises(TrainingError) as caught:
        pretrain(config, dataset, out, progress=False)
    assert str(caught.value) == (
        f"the loss is nan at step 8; its batch is in {out / BAD_BATCH}; last good checkpoint: step 7 is in {out}"
    )
    saved = load_checkpoint(out)
    assert saved.step == 7
    assert all(torch.isfinite(tensor).all() for tensor in flat(saved.model))
    bad = torch.load(out / BAD_BATCH, weights_only=True)
    assert bad["step"] == 8 and bad["state"].shape == (8, 19) and bad["eps"].shape == (16, 28)
    assert bad["state"].isnan().nonzero().tolist() == [[0, 0]]


def test_a_gradient_that_is_not_finite_stops_before_the_weights_change(
    dataset: Path, tiny_config: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    average, calls = Processes.average, itertools.count(1)

    def explode(self: Processes, parameters: list[torch.Tensor], scalars: torch.Tensor) -> torch.Tensor:
        if next(calls) == 3:
            parameters[0].grad.fill_(math.inf)  # type: ignore[union-attr]
        return average(self, parameters, scalars)  # type: ignore[arg-type]

    monkeypatch.setattr(Processes, "average", explode)
    config = tiny_config(optim={"checkpoint_every_s": 0.0})
    with pytest.raises(TrainingError, match=r"the gradient is not finite at step 3; its batch is in .*bad_batch.pt"):
        pretrain(config, dataset, tmp_path, progress=False)
    assert all(torch.isfinite(tensor).all() for tensor in flat(load_checkpoint(tmp_path).model))


def test_running_out_of_memory_says_what_to_lower(dataset: Path, tiny_config: Build, tmp_path: Path) -> None:
    config = tiny_config(loss={"noise_samples_per_obs": 10**12})
    with pytest.raises(TrainingError) as caught:
        pretrain(config, dataset, tmp_path / "run", progress=False)
    message = str(caught.value)
    assert message.startswith("out of memory at step 1 (") and "\n" not in message
    assert "lower optim.batch_size (now 8) or loss.noise_samples_per_obs (now 1000000000000)" in message
    assert message.endswith("last good checkpoint: none")


def test_data_that_do_not_fit_into_memory_say_what_to_lower(
    dataset: Path, tiny_config: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(*_: object, **__: object) -> None:
        raise MemoryError("Unable to allocate 3.2 TiB")

    monkeypatch.setattr(run_module, "load_windows", too_large)
    with pytest.raises(TrainingError, match=r"out of memory while loading the data .*lower data.max_episodes"):
        pretrain(tiny_config(), dataset, tmp_path / "run", progress=False)


def test_a_full_disk_keeps_the_old_checkpoint(
    dataset: Path, tiny_config: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Trainer.train_step

    def full_from_step_three(self: Trainer, *, detailed: bool) -> dict[str, float]:
        if self.step == 3:
            (tmp_path / "checkpoint.tmp").symlink_to("/dev/full")
        return step(self, detailed=detailed)

    monkeypatch.setattr(Trainer, "train_step", full_from_step_three)
    with pytest.raises(TrainingError) as caught:
        pretrain(tiny_config(optim={"checkpoint_every_s": 0.0}), dataset, tmp_path, progress=False)
    assert str(caught.value) == (
        f"cannot save step 4 in {tmp_path / FILE_NAME}: No space left on device; "
        f"last good checkpoint: step 3 is in {tmp_path}"
    )
    assert load_checkpoint(tmp_path).step == 3
    assert not (tmp_path / "checkpoint.tmp").is_symlink()


def test_any_file_that_cannot_grow_ends_the_run_in_one_line(dataset: Path, tiny_config: Build, tmp_path: Path) -> None:
    """Every file of the process stops at 100 bytes once two steps are saved: table, events and checkpoint."""
    config_file = tmp_path / "tiny.yaml"
    save_config(tiny_config(optim={"checkpoint_every_s": 0.0, "log_every": 1}), config_file)
    script = f"""
import resource
from pathlib import Path
from d2ppo_core.config import load_config
from d2ppo_core.errors import D2ppoError
from d2ppo_core.pretrain.run import pretrain
from d2ppo_core.pretrain.trainer import Trainer
step = Trainer.train_step
def limited(self, *, detailed):
    if self.step == 2:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
    return step(self, detailed=detailed)
Trainer.train_step = limited
try:
    pretrain(load_config({str(config_file)!r}), Path({str(dataset)!r}), Path({str(tmp_path / "run")!r}), progress=False)
except D2ppoError as error:
    print("ERROR", error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100)
    assert f"File too large; last good checkpoint: step 2 is in {tmp_path / 'run'}" in done.stdout, done.stderr
    assert done.returncode == 0 and load_checkpoint(tmp_path / "run").step == 2


def test_a_folder_that_cannot_be_written_is_refused_in_one_line(
    dataset: Path, tiny_config: Build, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="cannot write to .*file/run: Not a directory; last good checkpoint: none"):
        pretrain(tiny_config(), dataset, tmp_path / "file" / "run", progress=False)


def test_a_run_is_not_overwritten_by_accident(dataset: Path, tiny_config: Build, tmp_path: Path) -> None:
    pretrain(tiny_config(optim={"steps": 1}), dataset, tmp_path, progress=False)
    with pytest.raises(TrainingError, match="already holds a run; continue it with --resume"):
        pretrain(tiny_config(optim={"steps": 1}), dataset, tmp_path, progress=False)


def test_resuming_with_another_configuration_is_refused(dataset: Path, tiny_config: Build, tmp_path: Path) -> None:
    pretrain(tiny_config(optim={"steps": 1}), dataset, tmp_path, progress=False)
    with pytest.raises(TrainingError, match="another configuration"):
        pretrain(tiny_config(optim={"steps": 1, "lr": 1e-5}), dataset, tmp_path, resume=True, progress=False)


@pytest.mark.parametrize("key", ["low_dim_keys", "image_keys"])
def test_an_observation_that_the_dataset_lacks_is_refused_with_those_it_has(
    dataset: Path, tiny_config: Build, tmp_path: Path, key: str
) -> None:
    config = tiny_config(images=True, data={key: ["robot0_joint_pos"]})
    known = "object, robot0_eef_pos, robot0_eef_quat, robot0_eye_in_hand_image, robot0_gripper_qpos"
    with pytest.raises(DataError, match=f"has no 'robot0_joint_pos', only {known}"):
        pretrain(config, dataset, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_a_picture_is_no_low_dimensional_observation(dataset: Path, tiny_config: Build, tmp_path: Path) -> None:
    config = tiny_config(data={"low_dim_keys": ["robot0_eef_pos", "robot0_eye_in_hand_image"]})
    with pytest.raises(DataError, match=r"robot0_eye_in_hand_image: wanted numbers \(T, D\), got \(9, 24, 24, 3\)"):
        pretrain(config, dataset, tmp_path / "run", progress=False)


def test_a_dataset_of_another_task_is_refused_before_anything_is_written(
    dataset: Path, tiny_config: Build, tmp_path: Path
) -> None:
    config = dataclasses.replace(tiny_config(), task="can")
    with pytest.raises(DataError, match="must hold PickPlaceCan demonstrations, got Lift"):
        pretrain(config, dataset, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_training_works_outside_of_the_main_thread(dataset: Path, tiny_config: Build, tmp_path: Path) -> None:
    done: list[bool] = []
    config = tiny_config(optim={"steps": 1})
    thread = threading.Thread(target=lambda: done.append(pretrain(config, dataset, tmp_path, progress=False).finished))
    thread.start()
    deadline_s = time.monotonic() + 30
    while thread.is_alive() and time.monotonic() < deadline_s:
        thread.join(0.1)
    assert done == [True]
