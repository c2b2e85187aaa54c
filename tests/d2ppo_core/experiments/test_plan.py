"""Plans and the runs that they take."""

from pathlib import Path

import pytest

from d2ppo_core.errors import ConfigError
from d2ppo_core.experiments.catalogue import PLANS, find_plan
from d2ppo_core.experiments.plan import Cell, Plan


@pytest.mark.parametrize(
    ("name", "runs"),
    [
        ("lambda_sweep", 6 * 1 * 3),
        ("dispersive_vs_none", 2 * 4 * 3),
        ("batch_size", 6 * 4 * 3),
        ("clone_rate", 3 * 2 * 3 * 4 * 2),
        ("dispersive_screen", (1 + 5 * 2 * 2) * 2 * 3 * 2),
        ("dispersive_confirm", 2 * 4 * 2 * 4 * 5),
        ("dispersive_images", (1 + 3) * 2 * 2 * 3),
        ("sample_efficiency", 7 * 4 * 3),
    ],
)
def test_a_plan_takes_cells_times_tasks_times_seeds_runs(name, runs):
    plan = find_plan(name)
    planned = plan.runs(plan.tasks, plan.seeds)
    assert len(planned) == runs == len({run.label for run in planned})


def test_all_plans_were_counted():
    assert len(PLANS) == 8


@pytest.mark.parametrize("plan", PLANS.values(), ids=lambda plan: plan.name)
def test_every_cell_of_every_plan_is_a_configuration_and_no_two_are_equal(plan):
    for task in plan.tasks:
        runs = plan.runs([task], [7])
        configs = [(r.pretrain_config(), r.finetune_config() if plan.tunes else None) for r in runs]
        assert all(first.seed == 7 and first.task == task for first, _ in configs)
        assert all(second is None or second.seed == 7 for _, second in configs)
        assert all(configs.count(config) == 1 for config in configs)


def test_batches_of_all_sizes_see_equally_many_samples_and_average_over_as_many():
    runs = find_plan("batch_size").runs(["lift"], [0])
    optims = [run.pretrain_config(["optim.steps=2000"]).optim for run in runs]
    assert {optim.steps * optim.batch_size for optim in optims} == {2000 * 256}
    assert {optim.warmup_steps * optim.batch_size for optim in optims} == {200 * 256}
    assert {round(optim.batch_size * optim.ema_every / (1 - optim.ema_decay)) for optim in optims} == {512_000}


def test_cells_that_share_a_clone_train_it_once_and_come_after_its_own():
    plan = find_plan("sample_efficiency")
    runs = plan.runs(["lift"], [0], ["drwr", "plain"])
    assert [run.cell.name for run in runs] == ["plain", "drwr"]
    assert runs[1].clone(Path("out")) == Path("out/lift/plain/seed0/pretrain") == runs[0].clone(Path("out"))
    assert runs[0].pretrain_config() == runs[1].pretrain_config()
    assert [run.finetune_config().algorithm for run in runs] == ["ppo", "drwr"]


def test_overrides_go_to_their_stage():
    run = find_plan("sample_efficiency").runs(["lift"], [1], ["plain"])[0]
    overrides = ["optim.steps=9", "finetune.iterations=3"]
    assert run.pretrain_config(overrides).optim.steps == 9
    assert run.finetune_config(overrides).iterations == 3


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("loss.dispersive_weight=0.4", "lambda_sweep sets loss.dispersive_weight itself"),
        ("seed=4", "lambda_sweep sets seed itself"),
        ("optim.stepz=4", "unknown key stepz"),
    ],
)
def test_overrides_that_the_plan_compares_are_refused(override, message):
    run = find_plan("lambda_sweep").runs(["square"], [0])[0]
    with pytest.raises(ConfigError, match=message):
        run.pretrain_config([override])


def test_runs_that_would_end_early_are_refused():
    run = find_plan("sample_efficiency").runs(["lift"], [0])[0]
    with pytest.raises(ConfigError, match="tuned equally long"):
        run.finetune_config(["finetune.success.stop_at=0.9"])


@pytest.mark.parametrize(
    ("tasks", "seeds", "cells", "message"),
    [
        (["lift"], [0], [], "lambda_sweep: unknown task lift; tasks are square$"),
        (["square"], [0], ["lambda_2"], "unknown cell 'lambda_2'; cells are lambda_0, lambda_0.1, "),
        (["square"], [0, 0], [], "seeds: wanted different numbers >= 0, got 0 0"),
    ],
)
def test_unknown_names_are_answered_by_those_that_exist(tasks, seeds, cells, message):
    with pytest.raises(ConfigError, match=message) as caught:
        find_plan("lambda_sweep").runs(tasks, seeds, cells)
    assert "\n" not in str(caught.value)


def test_an_unknown_experiment_is_answered_by_all_names_in_one_line():
    with pytest.raises(ConfigError) as caught:
        find_plan("nope")
    assert str(caught.value) == f"unknown experiment 'nope'; there are {', '.join(PLANS)}"


def test_a_plan_needs_its_reference_among_its_cells():
    with pytest.raises(ConfigError, match="wanted one of the cells a, got 'b'"):
        Plan(name="x", question="", cells=(Cell(name="a"),), reference="b", tasks=("lift",), measures="")
