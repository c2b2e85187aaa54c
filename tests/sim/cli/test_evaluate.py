"""`d2ppo evaluate` as a user calls it."""

import json
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from d2ppo_core.errors import ConfigError, D2ppoError
from sim.cli import evaluate as module
from sim.cli.evaluate import evaluate
from sim.evaluation import live
from sim.evaluation.live import LiveRequest

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


def test_several_delays_are_rows_and_a_figure(make_run: MakeRun, short, tmp_path):
    out = tmp_path / "late.json"
    result = call("lift", make_run(), "--episodes", 1, "--delay", "0,50", "--delay", 120, "--out", out)
    assert result.exit_code == 0, result.exception
    assert [row["where"] for row in json.loads(out.read_text())["rows"]] == [f"batched +{ms}" for ms in (0, 50, 120)]
    assert (tmp_path / "late.png").stat().st_size > 5000


def test_a_delayed_stack_is_asked_for_once_per_delay_with_latencies_of_its_own(tmp_path):
    from sim.evaluation.live import LiveRequest, delayed

    request = LiveRequest(
        command="", task="lift", policy="", episodes=1, seed=0, horizon_s=1.0, out=tmp_path, settings={"robot": "fr3"}
    )
    requests = delayed(request, ["30", "200"])
    assert [r.out for r in requests] == [tmp_path / "30", tmp_path / "200"]
    assert requests[1].settings == {
        "robot": "fr3", "policy.image_latency_ms": "0.0", "policy.inference_latency_ms": "200"
    }  # fmt: skip
    with pytest.raises(ConfigError, match="soon is no evaluation.json"):
        delayed(request, ["soon"])


def test_both_kinds_of_worlds_are_compared(make_run: MakeRun, short, monkeypatch, tmp_path):
    from sim.evaluation.evaluators import BatchedEvaluator

    class Robosuite(BatchedEvaluator):
        def __init__(self, policies, *, processes, delay):
            super().__init__(policies, num_envs=processes, delay=delay)
            self.where = "robosuite"

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
        (["lift", "{run}", "--in", "dreams"], "--in: wanted one of batched, robosuite, both, stack, got 'dreams'"),
        (["lift", "--in", "stack", "--steps", "5"], "--steps is for worlds; it says nothing with --in stack"),
        (["lift", "{run}", "--force"], "--force is for a stack; it says nothing with --in batched"),
        (["lift", "--in", "stack", "--horizon", "nan"], "--horizon"),
        (["transport"], "task transport has no bundle of its own yet; name a policy: d2ppo evaluate transport POLICY"),
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


@pytest.fixture
def asked(monkeypatch) -> list[LiveRequest]:
    """What the evaluator of the ROS packages would have been asked."""
    requests: list[LiveRequest] = []
    monkeypatch.setattr(module, "live_evaluator", lambda: requests.append)
    return requests


def test_in_a_stack_the_task_says_bundle_and_time_unless_they_are_named(asked):
    assert call("can", "--in", "stack").exit_code == 0
    more = ("--episodes", 3, "--seed", 7, "--horizon", 2.5, "--force", "--set", "robot=panda", "--out", "there")
    assert call("square", "can_state", "--in", "stack", *more).exit_code == 0
    first, second = asked
    assert (first.task, first.policy, first.stack, first.episodes, first.seed) == ("can", "can_state", "sim", 10, 1000)
    assert (first.horizon_s, first.settings, first.out) == (15.0, {}, None)
    assert first.command == "d2ppo evaluate can --in stack"
    assert (second.policy, second.episodes, second.seed, second.horizon_s) == ("can_state", 3, 7, 2.5)
    assert second.settings == {"robot": "panda", "force": "true"} and second.out == Path("there")


@pytest.mark.parametrize(
    ("arguments", "now"),
    [
        ("--stack sim", "lift --in stack"),
        ("--stack sim --bundle can_image --episodes 5", "can can_image --in stack --episodes 5"),
        ("--episodes=2 --stack=mine.yaml", "lift --in stack --stack mine.yaml --episodes=2"),
        ("--stack sim --task can --set robot=panda", "can --in stack --set robot=panda"),
        ("--stack sim --bundle nowhere --help", "lift nowhere --in stack --help"),
    ],
)
def test_an_old_spelling_is_answered_with_the_new_one(asked, arguments, now):
    result = call(*arguments.split())
    assert isinstance(result.exception, ConfigError) and not asked
    assert str(result.exception).endswith(f"; write: d2ppo evaluate {now}") and "\n" not in str(result.exception)


def test_another_stack_file_is_no_old_spelling(asked):
    assert call("lift", "--in", "stack", "--stack", "mine.yaml").exit_code == 0
    assert asked[0].stack == "mine.yaml"


@pytest.mark.parametrize("lack", ["", "the ROS packages d2ppo_interfaces and d2ppo_nodes must be built here; run: it"])
def test_without_the_ros_packages_a_stack_is_refused_in_one_line(monkeypatch, lack):
    monkeypatch.setattr(live, "missing_ros", lambda: lack)
    monkeypatch.setattr(live, "entry_points", entry_points_of())
    result = call("lift", "--in", "stack")
    assert isinstance(result.exception, ConfigError)
    wanted = lack or "d2ppo_nodes is here without its evaluator; run: d2ppo doctor --fix-ros"
    assert str(result.exception) == f"--in stack: {wanted}"
