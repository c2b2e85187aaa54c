"""`d2ppo experiment` as a user calls it."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from d2ppo_core.errors import ConfigError
from sim.cli.experiment import experiment


def call(*arguments: object) -> Result:
    return CliRunner().invoke(experiment, [str(argument) for argument in arguments])


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    path = tmp_path / "lift.hdf5"
    path.touch()
    return path


def test_the_list_names_every_experiment_and_its_runs():
    shown = call("--list").stdout
    assert "6 cells x square x 3 seeds = 18 runs" in shown and "sample_efficiency: How many" in shown
    cells = call("sample_efficiency", "--list").stdout
    assert "    plain (reference): loss.dispersive=none model.kind=diffusion finetune.algorithm=ppo" in cells
    assert "    drwr: finetune.algorithm=drwr clone of plain" in cells


@pytest.mark.parametrize("seeds", [["--seeds", 0, 1], ["--seeds", 0, "--seeds", 1], ["--seeds=0", "--seeds=1"]])
def test_a_dry_run_shows_the_runs_and_makes_none(tmp_path, seeds):
    out = tmp_path / "out"
    shown = call(
        "dispersive_vs_none", "--tasks", "lift", "can", *seeds, "--out", out, "--set", "optim.steps=9", "--dry-run"
    )
    lines = shown.stdout.splitlines()
    assert lines[0] == "lift/none/seed0: not run (9 steps)" and lines[-1] == f"8 runs in {out}"
    assert not out.exists()


def test_the_table_alone_lists_what_was_not_run(tmp_path):
    result = call("lambda_sweep", "--out", tmp_path / "out", "--table-only")
    assert result.stdout == f"results: {tmp_path / 'out' / 'results.md'}\n"
    page = (tmp_path / "out" / "results.md").read_text()
    assert page.count("| 0 of 3 | not run |") == 6 and "--cells lambda_0 lambda_0.1" in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "wanted the name of an experiment: lambda_sweep, "),
        (["nope"], "unknown experiment 'nope'; there are lambda_sweep, "),
        (["auto_tap", "--tasks", "sweep"], "unknown task sweep; tasks are lift, can, square, transport"),
        (["auto_tap", "--tasks", "--dry-run"], "--tasks: wanted at least one value, got none"),
        (["auto_tap", "--seeds"], "--seeds: wanted at least one value, got none"),
        (["auto_tap", "--data", "nowhere/{task}.hdf5"], "nowhere/lift.hdf5: no such dataset; name yours by --data"),
    ],
)
def test_mistakes_are_named_in_one_line(tmp_path, arguments, message):
    result = call(*arguments, "--out", tmp_path / "out") if arguments else call()
    assert isinstance(result.exception, ConfigError) and message in str(result.exception)
    assert "\n" not in str(result.exception) and not (tmp_path / "out").exists()


def test_a_mistake_in_an_override_is_found_before_anything_runs(tmp_path, dataset):
    result = call("auto_tap", "--tasks", "lift", "--data", dataset, "--out", tmp_path / "o", "--set", "optim.stepz=1")
    assert "unknown key stepz" in str(result.exception) and not (tmp_path / "o").exists()
