import shutil
from pathlib import Path

import h5py
import pytest
from click.testing import CliRunner

from d2ppo_core.bundle import load_bundle
from d2ppo_core.cli.export import export
from d2ppo_core.cli.pretrain import pretrain, resolve
from d2ppo_core.config import load_config, read_started
from d2ppo_core.errors import ConfigError, D2ppoError, TrainingError

SMALL = ["optim.steps=2", "optim.batch_size=8", "optim.warmup_steps=1", "model.hidden_dim=16"]


def arguments(dataset: Path, out: Path, *more: str) -> list[str]:
    sets = [item for value in SMALL for item in ("--set", value)]
    return ["lift", "--data", str(dataset), "--out", str(out), *sets, *more]


def test_a_run_trains_resumes_and_exports(dataset: Path, tmp_path: Path) -> None:
    runner, run, bundle = CliRunner(), tmp_path / "run", tmp_path / "bundle"
    first = runner.invoke(pretrain, arguments(dataset, run), catch_exceptions=False)
    assert first.exit_code == 0 and "finished at step 2" in first.output
    options = ["lift", "--data", str(dataset), "--out", str(run), "--resume"]  # by the run's own configuration
    again = runner.invoke(pretrain, options, catch_exceptions=False)
    assert "finished at step 2" in again.output
    note = tmp_path / "note.yaml"
    note.write_text("success: {rate: 0.9}\n")
    options = [str(run), "--out", str(bundle), "--samples", "3", "--note", str(note)]
    done = runner.invoke(export, options, catch_exceptions=False)
    assert done.exit_code == 0 and "over 3 samples" in done.output
    assert load_bundle(bundle).manifest.provenance["success"] == {"rate": 0.9}


def test_task_alone_takes_its_state_configuration_its_dataset_and_a_folder_of_that_name(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "lift.hdf5").symlink_to(dataset)
    sets = [item for value in SMALL for item in ("--set", value)]
    done = CliRunner().invoke(pretrain, ["lift", *sets], catch_exceptions=False)
    assert "next: d2ppo export runs/lift_state\n" in done.output
    assert load_config(tmp_path / "runs" / "lift_state" / "config.yaml").optim.steps == 2


@pytest.mark.parametrize("name", ["lift_image", "can_state"])
def test_a_shipped_configuration_is_chosen_by_name(name: str) -> None:
    assert resolve(name.partition("_")[0], name, ()).name == name


def test_the_configuration_of_another_task_is_refused() -> None:
    with pytest.raises(ConfigError, match="can_image: wanted a configuration of task 'lift', got one of 'can'"):
        resolve("lift", "can_image", ())


def test_a_task_that_is_a_configuration_gets_a_hint() -> None:
    hint = (
        "unknown task 'lift_image'; known are lift, can, square, transport; did you mean: d2ppo pretrain lift --config"
    )
    with pytest.raises(ConfigError, match=hint):
        resolve("lift_image", None, ())


def test_a_task_of_ones_own_needs_a_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown task 'pour'.* name the configuration of your own task by --config"):
        resolve("pour", None, ())
    (tmp_path / "pour.yaml").write_text("{name: pour, task: pour}")
    assert resolve("pour", str(tmp_path / "pour.yaml"), ("seed=3",)).seed == 3


def test_an_unknown_key_is_a_users_error(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="optim: unknown key stepz"):
        CliRunner().invoke(pretrain, arguments(dataset, tmp_path, "--set", "optim.stepz=1"), catch_exceptions=False)


def test_a_missing_dataset_is_a_users_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(D2ppoError, match=r"missing\.hdf5"):
        CliRunner().invoke(pretrain, arguments(tmp_path / "missing.hdf5", tmp_path / "run"), catch_exceptions=False)
    assert not (tmp_path / "run").exists()


def test_a_note_must_be_a_mapping(tmp_path: Path) -> None:
    (tmp_path / "note.yaml").write_text("- 1\n")
    options = [str(tmp_path), "--out", str(tmp_path / "b"), "--note", str(tmp_path / "note.yaml")]
    with pytest.raises(ConfigError, match="wanted a mapping"):
        CliRunner().invoke(export, options, catch_exceptions=False)


def sets(*values: str) -> list[str]:
    return [item for value in values for item in ("--set", value)]


def test_a_resumed_run_needs_neither_its_data_nor_its_overrides(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where data/lift.hdf5 is not
    runner, run = CliRunner(), tmp_path / "runs" / "lift_image"
    begun = ["lift", "--config", "lift_image", *sets(*SMALL, "data.validation_episodes=0", "model.vit_width=16")]
    assert runner.invoke(pretrain, [*begun, "--data", str(dataset)], catch_exceptions=False).exit_code == 0
    saved = (run / "config.yaml").read_text()
    for words in (
        ["--config", "lift_image"],
        ["--out", str(run)],
        ["--config", "lift_image", *sets("optim.threads=2")],
    ):
        again = runner.invoke(pretrain, ["lift", "--resume", *words], catch_exceptions=False)
        assert "finished at step 2" in again.output
    assert (run / "config.yaml").read_text() == saved.replace("threads: 1", "threads: 2")
    assert read_started(run).overrides[-1] == "optim.threads=2" and read_started(run).data == str(dataset)


def test_what_contradicts_a_resumed_run_is_refused_with_both_values(
    dataset: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    runner, run = CliRunner(), tmp_path / "run"
    runner.invoke(pretrain, arguments(dataset, run), catch_exceptions=False)
    options = ["lift", "--out", str(run), "--resume"]
    with pytest.raises(TrainingError, match=r"\(model.hidden_dim 16, now 32\); leave out --config and --set"):
        runner.invoke(pretrain, [*options, *sets("model.hidden_dim=32")], catch_exceptions=False)
    mine = tmp_path / "mine.yaml"
    mine.write_text("{name: lift_state, task: lift, seed: 4}")
    with pytest.raises(TrainingError, match="seed 0, now 4"):
        runner.invoke(pretrain, [*options, "--config", str(mine)], catch_exceptions=False)
    other = tmp_path / "other.hdf5"
    shutil.copy(dataset, other)
    with h5py.File(other, "a") as file:
        file.attrs["note"] = "another hash"
    with pytest.raises(TrainingError, match=r"another dataset: synthetic.hdf5 \(\w{12}\), now other.hdf5 \(\w{12}\)"):
        runner.invoke(pretrain, [*options, "--data", str(other)], catch_exceptions=False)


@pytest.mark.parametrize("task", ["lift", "can"])
def test_a_missing_dataset_advises_to_record_its_own_task(task: str, tmp_path: Path) -> None:
    advice = f"record one with: d2ppo demos {task} --out {tmp_path}/none.hdf5"
    with pytest.raises(D2ppoError, match=advice):
        CliRunner().invoke(pretrain, [task, "--data", str(tmp_path / "none.hdf5")], catch_exceptions=False)


def test_an_override_of_the_second_stage_is_refused_with_its_spelling() -> None:
    with pytest.raises(ConfigError, match="'iterations=20' is of the second stage, finetune.iterations=20: give it to"):
        resolve("lift", None, ("iterations=20",))
    with pytest.raises(ConfigError, match="'finetune.iterations=20' is of the second stage"):
        resolve("lift", None, ("finetune.iterations=20",))
