"""`d2ppo experiment` as a user calls it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from d2ppo_core.data.episodes import Episode, EpisodeWriter
from d2ppo_core.errors import ConfigError
from sim.cli.experiment import experiment
from sim.evaluation.evaluators import BatchedEvaluator


def call(*arguments: object) -> Result:
    return CliRunner().invoke(experiment, [str(argument) for argument in arguments])


@pytest.fixture
def demonstrations(tmp_path: Path) -> Path:
    """Three short episodes of noise in the layout of Lift."""
    path, rng = tmp_path / "demos.hdf5", np.random.default_rng(0)
    sizes = {"robot0_eef_pos": 3, "robot0_eef_quat": 4, "robot0_gripper_qpos": 2, "object": 10}
    with EpisodeWriter(path, env_args={"env_name": "Lift"}) as writer:
        for _ in range(3):
            writer.append(
                Episode(
                    actions=rng.uniform(-1, 1, (12, 7)),
                    rewards=np.zeros(12),
                    dones=np.zeros(12, np.int64),
                    states=np.zeros((12, 2)),
                    observations={key: rng.uniform(-1, 1, (12, size)) for key, size in sizes.items()},
                )
            )
    return path


def test_both_stages_run_are_measured_and_skipped_afterwards(tmp_path, demonstrations, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"architecture": "x86_64", "avx2": True})
    plain = BatchedEvaluator.__init__
    monkeypatch.setattr(BatchedEvaluator, "__init__", lambda self, *a, **k: plain(self, *a, **k, horizon_steps=4))
    tiny = [
        "model.hidden_dim=16", "optim.batch_size=8", "optim.steps=4", "finetune.iterations=3", "finetune.threads=1",
        "finetune.env.num_envs=2", "finetune.env.chunks_per_iteration=2", "finetune.env.horizon_steps=4",
        "finetune.env.threads=1", "finetune.ppo.minibatch_pairs=20", "finetune.success.episodes=2",
        "finetune.weighted.updates=2",
    ]  # fmt: skip
    out = tmp_path / "out"
    begin = ["sample_efficiency", "--tasks", "lift", "--cells", "plain", "drwr", "--seeds", 3, "--out", out]
    sets = [word for text in tiny for word in ("--set", text)]
    first = call(*begin, "--data", demonstrations, "--episodes", 3, *sets)
    assert first.exit_code == 0, first.exception
    assert f"{out}: 2 of 2 runs finished, done" in first.stdout
    assert first.stderr.count("no instructions for bfloat16: optim.precision=float32 is faster here") == 1
    record = json.loads((out / "lift/drwr/seed3/evaluation.json").read_text())
    assert record["env_steps"] == 3 * 2 * 2 * 4 and record["steps"] == 4
    assert record["evaluation"]["seeds"] == [1000, 1001, 1002] and record["evaluation"]["weights"] == "ema"
    assert record["evaluation"]["steps"] == [4, 4, 4] and record["dataset"]["file"] == "demos.hdf5"
    assert not (out / "lift/drwr/seed3/pretrain").exists()
    before = (out / "lift/drwr/seed3/evaluation.json").stat().st_mtime_ns
    again = call(*begin)  # the folder knows the settings
    assert again.exit_code == 0, again.exception
    assert (out / "lift/drwr/seed3/evaluation.json").stat().st_mtime_ns == before
    page = (out / "results.md").read_text()
    assert "| lift | drwr | 1 | 0/3 |" in page and "| lift | dawr | 0 of 1 | not run |" in page


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
        ([], "wanted the name of an experiment: clone_rate, "),
        (["nope"], "unknown experiment 'nope'; there are clone_rate, "),
        (["batch_size", "--tasks", "sweep"], "unknown task sweep; tasks are lift, can, square, transport"),
        (["batch_size", "--tasks", "--dry-run"], "--tasks: wanted at least one value, got none"),
        (["batch_size", "--seeds"], "--seeds: wanted at least one value, got none"),
        (
            ["dispersive_confirm", "--tasks", "can", "--best-rates"],
            "on can: run it first with --seeds 100 101",
        ),
        (["clone_rate", "--tasks", "can", "--best-rates"], "was measured on can: its cells have no arms"),
        (["batch_size", "--data", "nowhere/{task}.hdf5"], "nowhere/lift.hdf5: no such dataset; name yours by --data"),
    ],
)
def test_mistakes_are_named_in_one_line(tmp_path, arguments, message):
    result = call(*arguments, "--out", tmp_path / "out") if arguments else call()
    assert isinstance(result.exception, ConfigError) and message in str(result.exception)
    assert "\n" not in str(result.exception) and not (tmp_path / "out").exists()


def test_a_mistake_in_an_override_is_found_before_anything_runs(tmp_path, dataset):
    result = call("batch_size", "--tasks", "lift", "--data", dataset, "--out", tmp_path / "o", "--set", "optim.stepz=1")
    assert "unknown key stepz" in str(result.exception) and not (tmp_path / "o").exists()
