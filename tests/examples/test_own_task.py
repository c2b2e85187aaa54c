"""The example of a task of one's own, from nothing to a live episode, in small: each step one command."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from d2ppo_core.bundle import load_bundle
from d2ppo_core.cli.export import export
from d2ppo_core.cli.pretrain import pretrain
from d2ppo_core.objects import names_in
from d2ppo_core.task_folders import VARIABLE
from sim.cli.data import data
from sim.cli.demos import demos
from sim.cli.evaluate import evaluate
from sim.cli.finetune import finetune
from sim.cli.play import play

TASK = Path(__file__).parents[2] / "examples" / "own_task" / "stack_cubes"
SMALL = ("optim.steps=3", "optim.batch_size=16", "optim.warmup_steps=1", "model.hidden_dim=16", "model.time_dim=8")
SHORT = (
    "iterations=1", "env.num_envs=2", "env.chunks_per_iteration=2", "env.horizon_steps=8", "ppo.epochs=1",
    "ppo.minibatch_pairs=20", "critic.hidden_dim=8", "success.episodes=1", "success.confirm_episodes=1",
)  # fmt: skip


def call(verb, *arguments: object, settings: tuple[str, ...] = ()) -> str:
    """Call a verb as the command line does; returns what it printed."""
    words = [str(argument) for argument in arguments] + [word for text in settings for word in ("--set", text)]
    done = CliRunner().invoke(verb, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What demonstrations, clone, PPO and export leave, each by its one command."""
    folder = tmp_path_factory.mktemp("own")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv(VARIABLE, "")
        printed = call(demos, TASK, "--num", 2, "--skill", 1, 1, "--no-images", "--workers", 1)
        assert "data/stack_cubes.hdf5: 2 demonstrations added" in printed
        described = call(data, "info", "data/stack_cubes.hdf5")
        assert "task          stack_cubes\n" in described and "2, 2 end solved" in described
        assert "next: d2ppo export runs/stack_cubes_state\n" in call(pretrain, TASK, settings=SMALL)
        assert "finished after 1 iterations" in call(finetune, TASK, settings=SHORT)
        assert "bundles/stack_cubes_state_tuned: bundle" in call(export, "runs/stack_cubes_state_tuned", "--samples", 2)
    return folder / "bundles" / "stack_cubes_state_tuned"


def test_a_bundle_of_ones_own_task_says_what_its_objects_are(bundle: Path):
    manifest = load_bundle(bundle).manifest
    assert manifest.task == "stack_cubes" and names_in(manifest.object_parts) == ("red", "green")


def test_it_is_measured_in_batched_worlds_and_filmed(bundle: Path, tmp_path: Path):
    printed = call(evaluate, TASK, bundle, "--episodes", 2, "--out", tmp_path / "record.json")
    assert "stack_cubes" in printed and json.loads((tmp_path / "record.json").read_text())["task"] == "stack_cubes"
    film = tmp_path / "expert.mp4"
    assert "expert, seed 0: solved after" in call(play, TASK, "--size", 64, 48, "--out", film)
    assert film.stat().st_size > 1000
    demo = bundle.parents[1] / "data" / "stack_cubes.hdf5"
    assert "demo_1: solved after" in call(
        play, TASK, "--episode", demo, "--demo", "demo_1", "--size", 64, 48, "--out", film
    )


def test_it_runs_in_the_stack(
    bundle: Path, tmp_path: Path, robot_address: str, ros_domain_id: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(VARIABLE, "")
    setting = (f"robot_address={robot_address}",)
    options = ("--in", "stack", "--episodes", 1, "--horizon", 0.5, "--out", tmp_path / "report")
    call(evaluate, TASK, bundle, *options, settings=setting)
    (episode,) = json.loads((tmp_path / "report" / "evaluation.json").read_text())["episodes"]
    assert episode["outcome"] == "time out" and episode["ticks"] > 0
