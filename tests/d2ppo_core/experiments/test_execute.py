"""Skipping, continuing and stopping, with stages that train nothing."""

import os
import signal
from pathlib import Path

import pytest
import torch

from d2ppo_core.errors import ConfigError, TrainingError
from d2ppo_core.experiments.catalogue import find_plan
from d2ppo_core.experiments.execute import Progress, execute, is_finished
from d2ppo_core.experiments.plan import PlannedRun
from d2ppo_core.experiments.records import load_record
from d2ppo_core.experiments.settings import Settings, load_settings
from d2ppo_core.pretrain.checkpoint import load_checkpoint
from d2ppo_core.pretrain.metrics import MetricsWriter
from d2ppo_core.pretrain.run import pretrain
from d2ppo_core.run_lock import RunLock

from .stub_stages import StubStages

CLONES, TUNED = "dispersive_vs_none", "sample_efficiency"


def settings(out: Path, experiment: str = CLONES, **values: object) -> Settings:
    return Settings(experiment=experiment, out=str(out), **{"episodes": 4, **values})  # type: ignore[arg-type]


def runs(experiment: str = CLONES, *, seeds: tuple[int, ...] = (0,), cells: tuple[str, ...] = ()) -> list[PlannedRun]:
    return list(find_plan(experiment).runs(["lift"], seeds, cells))


def test_every_run_is_trained_and_measured_in_fixed_episodes(tmp_path):
    stages = StubStages({"none": 1, "dispersive": 3})
    assert execute(runs(seeds=(0, 1)), settings(tmp_path), stages) == Progress(4, stopped=False)
    assert [call[:2] for call in stages.calls] == [
        (stage, f"{cell}/seed{seed}")
        for seed in (0, 1)
        for cell in ("none", "dispersive")
        for stage in ("pretrain", "evaluate")
    ]
    record = load_record(tmp_path / "lift/dispersive/seed1")
    assert record is not None and record["evaluation"]["seeds"] == [1000, 1001, 1002, 1003]
    assert (record["commit"], record["dataset"]["file"], record["pretrain_s"]) == ("c0ffee0123456789", "lift.hdf5", 10)
    assert record["command"].startswith(f"d2ppo experiment {CLONES} --tasks lift --cells dispersive --seeds 1 --out ")


def test_a_finished_run_is_skipped(tmp_path):
    execute(runs(), settings(tmp_path), StubStages())
    again = StubStages()
    assert execute(runs(), settings(tmp_path), again) == Progress(2, stopped=False)
    assert again.calls == []


def test_other_episodes_measure_again_without_training(tmp_path):
    execute(runs(), settings(tmp_path), StubStages())
    again = StubStages()
    execute(runs(), settings(tmp_path, episodes=6), again)
    assert [call[0] for call in again.calls] == ["evaluate", "evaluate"]


@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_a_stopped_stage_ends_the_work_and_is_continued(tmp_path, stage):
    planned = runs(TUNED, cells=("plain",))
    assert execute(planned, settings(tmp_path, TUNED), StubStages(stop_in=stage)) == Progress(0, stopped=True)
    assert not is_finished(planned[0], settings(tmp_path, TUNED))
    again = StubStages()
    assert execute(planned, settings(tmp_path, TUNED), again) == Progress(1, stopped=False)
    left = ["pretrain", "finetune", "evaluate"][["pretrain", "finetune"].index(stage) :]
    assert again.calls == [(name, "plain/seed0", name == stage) for name in left]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_a_policy_is_measured_stops_and_leaves_no_record(tmp_path, number):
    class Struck(StubStages):
        def evaluate(self, folder, seeds):
            os.kill(os.getpid(), number)
            return super().evaluate(folder, seeds)

    before = signal.getsignal(number)
    assert execute(runs(), settings(tmp_path), Struck()) == Progress(0, stopped=True)
    assert signal.getsignal(number) is before
    assert load_record(tmp_path / "lift/none/seed0") is None
    again = StubStages()
    execute(runs(), settings(tmp_path), again)
    assert [call[:2] for call in again.calls][0] == ("evaluate", "none/seed0")


def test_a_configuration_edited_meanwhile_does_not_part_the_runs(tmp_path, monkeypatch):
    class Edited(StubStages):
        def pretrain(self, config, data, out, *, resume):
            monkeypatch.setattr(PlannedRun, "pretrain_config", None)
            return super().pretrain(config, data, out, resume=resume)

    assert execute(runs(), settings(tmp_path), Edited()) == Progress(2, stopped=False)


def test_clones_are_shared(tmp_path):
    stages = StubStages()
    execute(runs(TUNED), settings(tmp_path, TUNED), stages)
    trained = [where for stage, where, _ in stages.calls if stage == "pretrain"]
    assert trained == ["plain/seed0", "dispersive/seed0", "gaussian/seed0"]
    assert [where for stage, where, _ in stages.calls if stage == "finetune"] == [
        f"{cell}/seed0" for cell in ("plain", "dispersive", "gaussian", "self_cloning", "qppo", "drwr", "dawr")
    ]
    record = load_record(tmp_path / "lift/drwr/seed0")
    assert record is not None and record["env_steps"] == 60_000 and record["finetune_s"] == 20


@pytest.mark.parametrize("stop_in", ["", "pretrain"])
def test_a_folder_with_runs_of_another_configuration_is_refused(tmp_path, stop_in):
    execute(runs(), settings(tmp_path), StubStages(stop_in=stop_in))
    with pytest.raises(ConfigError, match="trained with another configuration.*take another --out"):
        execute(runs(), settings(tmp_path, overrides=("optim.steps=9",)), StubStages())


def test_threads_and_device_may_change(tmp_path):
    execute(runs(), settings(tmp_path), StubStages())
    assert is_finished(runs()[0], settings(tmp_path, overrides=("optim.threads=3", "optim.log_every=7")))


def test_a_setting_that_is_newer_than_the_runs_does_not_matter(tmp_path):
    execute(runs(), settings(tmp_path), StubStages())
    path = tmp_path / "lift/none/seed0/pretrain/config.yaml"
    text = path.read_text()
    assert "  margin: 1.0\n" in text
    path.write_text(text.replace("  margin: 1.0\n", ""))
    assert is_finished(runs()[0], settings(tmp_path))


def test_an_interrupted_pretraining_goes_on_to_the_same_weights(tmp_path, dataset, monkeypatch):
    class Real(StubStages):
        def pretrain(self, config, data, out, *, resume):
            return pretrain(config, data, out, resume=resume, progress=False).finished

    tiny = ("model.hidden_dim=16", "optim.batch_size=8", "optim.log_every=2", "optim.steps=6", "optim.threads=1")
    planned = runs(cells=("dispersive",))
    whole, broken = (settings(tmp_path / name, data=str(dataset), overrides=tiny) for name in ("whole", "broken"))
    assert execute(planned, whole, Real()) == Progress(1, stopped=False)
    write = MetricsWriter.write

    def write_and_stop(self, step, scalars):
        write(self, step, scalars)
        if step == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(MetricsWriter, "write", write_and_stop)
        assert execute(planned, broken, Real()) == Progress(0, stopped=True)
    folders = [planned[0].clone(tmp_path / name) for name in ("whole", "broken")]
    assert load_checkpoint(folders[1]).step == 4
    assert execute(planned, broken, Real()) == Progress(1, stopped=False)
    first, second = (load_checkpoint(folder) for folder in folders)
    assert second.step == 6 and all(torch.equal(first.ema[name], second.ema[name]) for name in first.ema)


def test_settings_are_kept_with_the_runs(tmp_path):
    kept = settings(tmp_path, data="demos/{task}.hdf5", overrides=("optim.steps=9",))
    kept.save()
    assert load_settings(tmp_path, CLONES) == kept and kept.dataset("can") == Path("demos/can.hdf5")
    settings(tmp_path, data="demos/{task}.hdf5", overrides=("optim.steps=9",), episodes=9).save()
    held = load_settings(tmp_path, CLONES)
    assert held is not None and held.episodes == 9
    with pytest.raises(ConfigError, match="other settings .data=demos/{task}.hdf5.; take another --out"):
        settings(tmp_path, overrides=("optim.steps=9",)).save()
    with pytest.raises(ConfigError, match=f"wanted runs of {TUNED}, got those of {CLONES}"):
        load_settings(tmp_path, TUNED)


def test_a_folder_with_runs_of_other_cells_is_refused(tmp_path):
    (tmp_path / "lift/rate_0.01/seed0").mkdir(parents=True)
    with pytest.raises(ConfigError, match=f"holds runs of other cells than {CLONES} has .rate_0.01; its own are none,"):
        execute(runs(), settings(tmp_path), StubStages())


def test_a_record_holds_what_the_clone_said_of_held_out_data(tmp_path):
    class Validated(StubStages):
        def pretrain(self, config, data, out, *, resume):
            finished = super().pretrain(config, data, out, resume=resume)
            (out / "metrics.csv").write_text(
                "step,losses/validation,validation/action_error,validation/sensitivity\n5,0.2,,\n9,0.1,0.25,0.75\n12,,,\n"
            )
            return finished

    execute(runs(), settings(tmp_path), Validated())
    record = load_record(tmp_path / "lift/none/seed0")
    assert record is not None
    assert record["validation"] == {"noise_loss": 0.1, "action_error": 0.25, "sensitivity": 0.75}


def test_results_of_somebodys_are_left_alone(tmp_path):
    (tmp_path / "results.md").write_text("precious")
    with pytest.raises(ConfigError, match="holds results.md of somebody's, but no experiment.json; take another --out"):
        settings(tmp_path).save()
    assert [path.name for path in tmp_path.iterdir()] == ["results.md"]


def test_a_run_that_another_process_makes_is_not_made_twice(tmp_path):
    planned = runs(cells=("dispersive",))
    with RunLock(planned[0].folder(tmp_path)), pytest.raises(TrainingError, match="is in use by process"):
        execute(planned, settings(tmp_path), StubStages())
