import dataclasses
from pathlib import Path

import pytest

from d2ppo_core.analysis.runs import find_dataset, make_labels, read_run
from d2ppo_core.errors import ConfigError, DataError, TrainingError


def test_a_pre_training_run_has_curves_and_a_checkpoint(run_folder: Path) -> None:
    run = read_run(run_folder, "a")
    assert run.stage == "pre-training" and run.checkpoint is not None and run.checkpoint.step == 6
    assert run.curves is not None and run.curves.steps.tolist() == [2, 4, 6]


def test_a_fine_tuning_run_has_curves_only(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("iteration,success/ema\n1,0.5\n")
    assert read_run(tmp_path, "b").stage == "no checkpoint"
    (tmp_path / "finetune.pt").touch()
    run = read_run(tmp_path, "b")
    assert run.stage == "fine-tuning" and run.checkpoint is None and run.curves is not None


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"wanted the folder of a training run, got neither metrics\.csv nor"):
        read_run(tmp_path / "nothing", "a")


def test_a_damaged_checkpoint_is_not_taken_for_fine_tuning(run_folder: Path) -> None:
    (run_folder / "checkpoint.pt").write_bytes(b"no archive")
    with pytest.raises(TrainingError, match="not a readable checkpoint"):
        read_run(run_folder, "a")


def test_labels_are_the_folders_names_where_these_differ() -> None:
    assert make_labels([Path("runs/a"), Path("runs/b")], None) == ("a", "b")
    assert make_labels([Path("x/a"), Path("y/a")], None) == ("x/a", "y/a")
    assert make_labels([Path("x/a"), Path("y/a")], "plain, dispersive") == ("plain", "dispersive")


@pytest.mark.parametrize("labels", ["one", "same,same", "a,", ""])
def test_labels_that_do_not_tell_the_runs_apart_are_refused(labels: str) -> None:
    with pytest.raises(ConfigError, match="wanted 2 different names"):
        make_labels([Path("a"), Path("b")], labels)


def test_the_dataset_is_the_one_that_the_run_was_started_with(run_folder: Path, dataset: Path) -> None:
    run = read_run(run_folder, "a")
    assert run.checkpoint is not None and find_dataset(run, run.checkpoint, None) == dataset


def test_the_dataset_is_else_looked_for_where_the_checkpoint_and_the_task_say(
    run_folder: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = read_run(run_folder, "a")
    assert run.checkpoint is not None
    (run_folder / "started.yaml").unlink()  # as of a run from before it was kept
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"synthetic\.hdf5 or data/synthetic\.hdf5 or data/lift\.hdf5; name it with"):
        find_dataset(run, run.checkpoint, None)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "lift.hdf5").touch()
    assert find_dataset(run, run.checkpoint, None) == Path("data/lift.hdf5")
    assert find_dataset(run, run.checkpoint, dataset) == dataset
    named = dataclasses.replace(run.checkpoint, dataset={**run.checkpoint.dataset, "path": str(dataset)})
    assert find_dataset(run, named, None) == dataset


def test_a_dataset_that_was_named_is_not_replaced_by_another(run_folder: Path, tmp_path: Path) -> None:
    run = read_run(run_folder, "a")
    assert run.checkpoint is not None
    with pytest.raises(DataError, match=r"is not at .*missing\.hdf5; name it"):
        find_dataset(run, run.checkpoint, tmp_path / "missing.hdf5")
