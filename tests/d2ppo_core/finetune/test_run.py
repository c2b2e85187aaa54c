import csv
import math
import os
import resource
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from d2ppo_core.config import load_finetune_config
from d2ppo_core.envs import AutoresetMode, VecEnv
from d2ppo_core.errors import ConfigError, TrainingError
from d2ppo_core.finetune.checkpoint import FILE_NAME, load_checkpoint
from d2ppo_core.finetune.run import finetune
from d2ppo_core.finetune.trainer import Trainer
from d2ppo_core.pretrain.checkpoint import FILE_NAME as PRETRAINED

from .tiny_runs import finetune_config, pretrain_config, tune
from .tiny_task import PointEnv, worlds


def tensors(state: object, name: str = "") -> dict[str, torch.Tensor]:
    """All tensors of nested containers, by where they are."""
    if isinstance(state, torch.Tensor):
        return {name: state}
    items = state.items() if isinstance(state, dict) else enumerate(state) if isinstance(state, (list, tuple)) else ()
    return {key: value for k, part in items for key, value in tensors(part, f"{name}/{k}").items()}


def metrics(folder: Path) -> list[dict[str, str]]:
    """Rows of metrics.csv without what was measured with a clock."""
    with (folder / "metrics.csv").open() as file:
        return [{k: v for k, v in row.items() if not k.startswith("speed/")} for row in csv.DictReader(file)]


def assert_same_run(one: Path, other: Path, *, scales_rewards: bool = True) -> None:
    wanted, got = load_checkpoint(one), load_checkpoint(other)
    for name in ("learner", "best"):
        a, b = tensors(getattr(wanted, name)), tensors(getattr(got, name))
        assert a.keys() == b.keys() and len(a) > 10
        assert [key for key in a if not torch.equal(a[key], b[key])] == []
    assert wanted.learner["reward_scale"] == got.learner["reward_scale"]
    assert (wanted.learner["reward_scale"]["count"] > 0) == scales_rewards
    assert wanted.learner["steps"] == got.learner["steps"]
    assert (wanted.iteration, wanted.env_steps) == (got.iteration, got.env_steps)
    assert metrics(one) == metrics(other)


def before_iteration(monkeypatch: pytest.MonkeyPatch, number: int, do: Callable[[Trainer], None]) -> None:
    """Let something happen before iteration `number` (from 0)."""
    iterate = Trainer.iterate

    def disturbed(self: Trainer, *stage: object) -> dict[str, float]:
        if self.iteration == number:
            do(self)
        return iterate(self, *stage)

    monkeypatch.setattr(Trainer, "iterate", disturbed)


def test_a_run_leaves_its_files(origin: Path, tmp_path: Path) -> None:
    config = finetune_config()
    outcome = tune(config, origin, tmp_path / "run")
    assert outcome.finished and outcome.iteration == 4 and outcome.env_steps == 4 * 8 * 32 and outcome.elapsed_s > 0
    rows = metrics(tmp_path / "run")
    assert [row["iteration"] for row in rows] == ["1", "2", "3", "4"]
    assert [bool(row["success/start"]) for row in rows] == [True, False, False, False]
    assert [bool(row["success/ema"]) for row in rows] == [False, True, False, True]
    for row in (rows[1], rows[3]):
        assert float(row["success/ema"]) <= float(row["stages/half_way"]) <= 1.0
    assert [bool(row["stages/half_way"]) for row in rows] == [False, True, False, True]
    assert [bool(row["losses/policy"]) for row in rows] == [False, True, True, True]
    named = config.at_times_of(pretrain_config())  # of the clone, as the run says from then on
    assert named.chain.sampler_times == "trailing" and load_finetune_config(tmp_path / "run" / "config.yaml") == named
    assert list((tmp_path / "run" / "tensorboard").iterdir())
    saved = load_checkpoint(tmp_path / "run")
    assert saved.config == named and saved.iteration == 4 and saved.best["success"] == outcome.success


@pytest.mark.parametrize("images", [False, True], ids=["state", "image"])
def test_a_resumed_run_ends_with_the_same_bits(
    origins: Callable[[bool], Path], tmp_path: Path, images: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = finetune_config(ppo={"bc_weight": 0.1, "steps_per_observation": 0 if images else 2})
    tune(config, origins(images), tmp_path / "whole")
    before_iteration(monkeypatch, 1, lambda _: os.kill(os.getpid(), signal.SIGTERM))
    stopped = tune(config, origins(images), tmp_path / "parts")
    assert (stopped.iteration, stopped.finished) == (2, False)
    monkeypatch.undo()
    torch.manual_seed(12345)  # whatever happens in between must not matter
    assert tune(config, origins(images), tmp_path / "parts", resume=True).finished
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_more_iterations_continue_a_finished_run(origin: Path, tmp_path: Path) -> None:
    tune(finetune_config(), origin, tmp_path / "whole")
    tune(finetune_config(iterations=2), origin, tmp_path / "parts")
    assert tune(finetune_config(), origin, tmp_path / "parts", resume=True).iteration == 4
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_resuming_needs_the_checkpoint_only(origin: Path, tmp_path: Path) -> None:
    tune(finetune_config(iterations=1), origin, tmp_path / "run")
    config = finetune_config(iterations=2)
    outcome = finetune(config, tmp_path / "gone", worlds(), tmp_path / "run", resume=True, progress=False)
    assert outcome.iteration == 2


def test_a_full_disk_stops_the_run_and_loses_nothing(
    origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tune(finetune_config(), origin, tmp_path / "whole")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before_iteration(monkeypatch, 2, lambda _: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1])))
    try:
        with pytest.raises(TrainingError, match="cannot save iteration 3 .* the one before is kept") as error:
            tune(finetune_config(), origin, tmp_path / "parts")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(error.value)
    monkeypatch.undo()
    assert load_checkpoint(tmp_path / "parts").iteration == 2
    tune(finetune_config(), origin, tmp_path / "parts", resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_a_log_that_cannot_be_written_is_one_line_too(
    origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before_iteration(monkeypatch, 1, lambda _: resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1])))
    try:
        with pytest.raises(TrainingError, match="cannot write to .* the checkpoint of the last whole iteration is in"):
            tune(finetune_config(), origin, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert load_checkpoint(tmp_path).iteration == 1


def test_a_loss_that_is_not_finite_keeps_the_last_whole_iteration(
    origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def poison(trainer: Trainer) -> None:
        collect = trainer.collector.collect

        def poisoned(*arguments: Any, **options: Any) -> Any:
            rollout = collect(*arguments, **options)
            return replace(rollout, reward=rollout.reward * math.nan)

        monkeypatch.setattr(trainer.collector, "collect", poisoned)

    before_iteration(monkeypatch, 2, poison)
    wanted = "the loss is nan after .* steps of the actor; the checkpoint of the last whole iteration is in"
    with pytest.raises(TrainingError, match=wanted):
        tune(finetune_config(), origin, tmp_path / "parts")
    saved = load_checkpoint(tmp_path / "parts")
    assert saved.iteration == 2 and all(bool(t.isfinite().all()) for t in tensors(saved.learner).values())
    monkeypatch.undo()
    tune(finetune_config(), origin, tmp_path / "parts", resume=True)
    tune(finetune_config(), origin, tmp_path / "whole")
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_a_failure_before_the_first_checkpoint_says_that_there_is_none(
    origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Trainer) -> None:
        raise TrainingError("the loss is nan")

    before_iteration(monkeypatch, 0, fail)
    with pytest.raises(TrainingError, match="the loss is nan; there is no checkpoint yet"):
        tune(finetune_config(), origin, tmp_path)


def test_nothing_that_is_there_is_overwritten(origin: Path, tmp_path: Path) -> None:
    tune(finetune_config(iterations=1), origin, tmp_path)
    before = (tmp_path / FILE_NAME).read_bytes()
    with pytest.raises(TrainingError, match="already holds a run; continue it with --resume"):
        tune(finetune_config(), origin, tmp_path)
    assert (tmp_path / FILE_NAME).read_bytes() == before
    names = {path.name: path.read_bytes() for path in origin.iterdir() if path.is_file()}
    with pytest.raises(TrainingError, match="already holds a pre-training; choose another --out"):
        tune(finetune_config(), origin, origin)
    assert {path.name: path.read_bytes() for path in origin.iterdir() if path.is_file()} == names


def test_a_fine_tuned_policy_is_no_origin(origin: Path, tmp_path: Path) -> None:
    tune(finetune_config(iterations=1), origin, tmp_path / "one")
    with pytest.raises(ConfigError, match="wanted a pre-training as origin, got a fine-tuned policy"):
        tune(finetune_config(), tmp_path / "one", tmp_path / "two")
    assert not (tmp_path / "two").exists()


def test_what_does_not_fit_is_refused_before_anything_is_written(origin: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(TrainingError, match=f"no {PRETRAINED}"):
        finetune(finetune_config(), tmp_path / "nothing", worlds(), out, progress=False)
    with pytest.raises(ConfigError, match="wanted a policy for lift, got one for point"):
        tune(replace(finetune_config(), task="lift"), origin, out)
    with pytest.raises(TrainingError, match=f"no {FILE_NAME}; start a run there"):
        tune(finetune_config(), origin, out, resume=True)
    assert not out.exists()


def test_resuming_with_another_configuration_is_refused_and_changes_nothing(origin: Path, tmp_path: Path) -> None:
    tune(finetune_config(iterations=1), origin, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    with pytest.raises(TrainingError, match=r"another configuration \(chain.finetuned_steps 5, now 4\)"):
        tune(finetune_config(chain={"finetuned_steps": 4}), origin, tmp_path, resume=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_a_policy_that_succeeds_twice_in_a_row_ends_the_run(
    origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = iter([0.0, 0.9, 0.5, 0.9, 0.95, 1.0])

    class Rated:
        def __init__(self) -> None:
            self.success_rate, self.stages = next(rates), {}

    monkeypatch.setattr(Trainer, "evaluate", lambda *_: Rated())
    config = finetune_config(iterations=20, success={"every_iterations": 1, "stop_at": 0.8})
    outcome = tune(config, origin, tmp_path)
    assert (outcome.iteration, outcome.finished, outcome.success) == (4, True, 0.95)
    assert load_checkpoint(tmp_path).best["iteration"] == 4


def test_the_worlds_are_closed_whatever_happens(origin: Path, tmp_path: Path) -> None:
    closed: list[AutoresetMode] = []

    def make(mode: AutoresetMode) -> VecEnv:
        env = PointEnv(autoreset_mode=mode)
        env.close = lambda: closed.append(mode)  # type: ignore[method-assign]
        return env

    finetune(finetune_config(iterations=1), origin, make, tmp_path / "good", progress=False)
    with pytest.raises(ConfigError, match="wanted a policy for lift"):
        finetune(replace(finetune_config(), task="lift"), origin, make, tmp_path / "bad", progress=False)
    assert sorted(mode.name for mode in closed) == ["DISABLED", "DISABLED", "SAME_STEP", "SAME_STEP"]
