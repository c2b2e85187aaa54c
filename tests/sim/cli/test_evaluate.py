"""`d2ppo evaluate` as a user calls it."""

import json
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from d2ppo_core.errors import ConfigError, D2ppoError
from sim.cli import evaluate as module
from sim.cli.evaluate import evaluate

MakeRun = Callable[..., Path]


@pytest.fixture
def short(monkeypatch):
    """Episodes of a fifth of a second: nobody solves anything, and nobody waits."""
    from sim.evaluation.evaluators import BatchedEvaluator

    plain = BatchedEvaluator.__init__
    monkeypatch.setattr(BatchedEvaluator, "__init__", lambda self, *a, **k: plain(self, *a, **k, horizon_steps=4))


def call(*arguments: object) -> Result:
    return CliRunner().invoke(evaluate, [str(argument) for argument in arguments])


def test_the_ladder_measures_everything_that_a_run_holds(make_run: MakeRun, short, tmp_path):
    out = tmp_path / "deep" / "table.json"
    result = call("lift", make_run(tuned=True), "--ladder", "--episodes", 3, "--seed", 7, "--out", out)
    assert result.exit_code == 0, result.exception
    rows = [line.split() for line in result.stdout.splitlines() if line.startswith("lift")]
    assert [row[2:5] for row in rows] == [
        [weights, *row]
        for weights in ("ema", "raw", "best")
        for row in [["deterministic", k] for k in ("1", "2", "5", "10", "20")] + [["stochastic", "10"]]
    ]
    assert all(row[1] == "batched" and row[5] == "0/3" for row in rows)
    record = json.loads(out.read_text())
    assert (
        record["command"].startswith("d2ppo evaluate lift ") and "--ladder --episodes 3 --seed 7" in record["command"]
    )
    assert (record["seed"], record["episodes"]) == (7, 3)
    assert record["policy"]["finetune"]["iterations"] == 4 and record["policy"]["commit"] == "c0ffee"
    assert {"python", "torch", "mujoco", "robosuite"} <= set(record["versions"]) and record["commit"]
    assert len(record["rows"]) == 18 and record["comparisons"] == []
    assert record["rows"][0]["seeds"] == [7, 8, 9] and record["rows"][0]["steps"] == [4, 4, 4]


def test_lists_and_repeated_options_mean_the_same(make_run: MakeRun, short):
    run = make_run()
    tables = [
        call("lift", run, "--episodes", 1, "--weights", "raw,ema", "--steps", "1,5").stdout,
        call("lift", run, "--episodes", 1, "--weights", "raw", "--weights", "ema", "--steps", 1, "--steps", 5).stdout,
    ]
    chosen = [[line.split()[2:5] for line in t.splitlines() if line.startswith("lift")] for t in tables]
    assert chosen[0] == chosen[1] == [[w, "deterministic", k] for w in ("raw", "ema") for k in "15"]


def test_both_kinds_of_worlds_are_compared(make_run: MakeRun, short, monkeypatch, tmp_path):
    from sim.evaluation.evaluators import BatchedEvaluator

    class Robosuite(BatchedEvaluator):
        where = "robosuite"

        def __init__(self, policies, *, processes):
            super().__init__(policies, num_envs=processes)

    monkeypatch.setattr("sim.evaluation.evaluators.RobosuiteEvaluator", Robosuite)
    result = call("lift", make_run(), "--in", "both", "--episodes", 2, "--out", tmp_path / "both.json")
    assert result.exit_code == 0, result.exception
    assert [line.split()[1] for line in result.stdout.splitlines() if line.startswith("lift")] == [
        "batched",
        "robosuite",
    ]
    assert "ema deterministic K = 10: batched 0, robosuite 0 of 2, p = 1 (Fisher)" in result.stdout
    assert json.loads((tmp_path / "both.json").read_text())["comparisons"][0]["equal_steps"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["juggling", "{run}"], "unknown task 'juggling'; known are lift"),
        (["can", "{run}"], "wanted a policy for can, got .*run for lift"),
        (["lift", "nowhere"], "nowhere: wanted a run folder, a bundle folder"),
        (["lift", "{run}", "--weights", "best"], "weights: wanted one of ema, raw .*, got 'best'"),
        (["lift", "{run}", "--sampling", "greedy"], "sampling: wanted one of deterministic, stochastic, got 'greedy'"),
        (["lift", "{run}", "--steps", "3"], "wanted K that divides T = 20 .*, got 3"),
        (["lift", "{run}", "--steps", "1,two"], "--steps: wanted whole numbers, got two"),
        (["lift", "{run}", "--in", "dreams"], "--in: wanted one of batched, robosuite, both, got 'dreams'"),
        (["lift", "{run}", "--ladder", "--steps", "5"], "wanted --ladder or --sampling and --steps, got both"),
        (["lift", "{run}", "--out", "{folder}"], "is a folder; wanted a file"),
        (["lift", "{run}", "--out", "/dev/null/table.json"], "table.json: cannot be written: "),
        (["lift", "lift_image", "--weights", "raw"], "is a bundle, which holds one policy: deterministic, K = 10"),
    ],
)
def test_wishes_that_cannot_be_met_are_one_line(make_run: MakeRun, tmp_path, arguments, message):
    names = {"run": make_run(), "folder": tmp_path}
    result = call(*[argument.format(**names) for argument in arguments])
    assert isinstance(result.exception, D2ppoError), result.exception
    assert "\n" not in str(result.exception)
    with pytest.raises(D2ppoError, match=message):
        raise result.exception


def test_an_older_record_is_replaced_by_rows_only_and_a_file_of_another_kind_is_left(make_run: MakeRun, tmp_path):
    run, out = make_run(), tmp_path / "table.json"
    assert call("lift", run, "--episodes", 1, "--out", out).exit_code == 0
    before = out.read_bytes()
    assert call("lift", run, "--episodes", 1, "--in", "dreams", "--out", out).exit_code != 0
    assert out.read_bytes() == before
    (tmp_path / "thesis.json").write_text('{"chapter": 1}')
    refused = call("lift", run, "--episodes", 1, "--out", tmp_path / "thesis.json")
    assert "thesis.json is not replaced, as it is no record of an evaluation" in str(refused.exception)
    assert (tmp_path / "thesis.json").read_text() == '{"chapter": 1}'


def test_a_policy_that_reads_what_the_worlds_do_not_show_is_refused(make_run: MakeRun):
    keys = ["robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos", "moon"]
    result = call("lift", make_run(data={"low_dim_keys": keys}))
    assert isinstance(result.exception, ConfigError) and "reads moon; the worlds show" in str(result.exception)


def entry_points_of(*points: EntryPoint) -> Callable[..., tuple[EntryPoint, ...]]:
    def find(*, group: str, name: str) -> tuple[EntryPoint, ...]:
        assert (group, name) == ("d2ppo.evaluators", "live")
        return points

    return find


@click.command()
@click.option("--stack")
@click.option("--episodes", type=int)
def live(stack: str, episodes: int) -> None:
    """Stands in for the evaluator of the ROS packages."""
    click.echo(f"{episodes} episodes in {stack}")


class Installed(EntryPoint):
    def load(self) -> click.Command:
        return live


@pytest.mark.parametrize("arguments", [["--stack", "sim", "--episodes", "2"], ["--episodes=2", "--stack=sim"]])
def test_with_a_stack_the_whole_line_goes_to_the_live_evaluator(monkeypatch, arguments):
    found = Installed(name="live", value="somewhere:live", group="d2ppo.evaluators")
    monkeypatch.setattr(module, "entry_points", entry_points_of(found))
    assert call(*arguments).output == "2 episodes in sim\n"
    group = click.Group(commands={"evaluate": evaluate})
    assert CliRunner().invoke(group, ["evaluate", *arguments]).output == "2 episodes in sim\n"


@pytest.mark.parametrize("lack", ["", "the ROS packages d2ppo_interfaces and d2ppo_nodes must be built here; run: it"])
def test_without_the_ros_packages_a_stack_is_refused_in_one_line(monkeypatch, lack):
    monkeypatch.setattr(module, "missing_ros", lambda: lack)
    monkeypatch.setattr(module, "entry_points", entry_points_of())
    result = call("--stack", "sim")
    assert isinstance(result.exception, ConfigError)
    wanted = lack or "d2ppo_nodes is here without its evaluator; run: d2ppo doctor --fix-ros"
    assert str(result.exception) == f"--stack: {wanted}"
