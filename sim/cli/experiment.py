"""`d2ppo experiment`: make the runs of an experiment, measure them, and write its table."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from d2ppo_core.errors import ConfigError
from d2ppo_core.experiments.arms import best_cells
from d2ppo_core.experiments.catalogue import PLANS, find_plan
from d2ppo_core.experiments.comparison import read_rows
from d2ppo_core.experiments.execute import execute, is_finished
from d2ppo_core.experiments.plan import Plan, PlannedRun
from d2ppo_core.experiments.records import load_record
from d2ppo_core.experiments.report import write_results
from d2ppo_core.experiments.settings import Settings, default_out, load_settings

if TYPE_CHECKING:
    from d2ppo_core.config import FinetuneConfig, PretrainConfig

WORLDS = 50
"""Batched worlds side by side while a policy is measured."""
_LISTS = ("--tasks", "--cells", "--seeds")


class RunStages:
    """Both trainers and batched worlds, as `d2ppo_core.experiments.execute.Stages`."""

    def pretrain(self, config: PretrainConfig, data: Path, out: Path, *, resume: bool) -> bool:
        """As `Stages.pretrain`. Raises DataError when there is no such dataset."""
        from d2ppo_core.pretrain.run import pretrain

        return pretrain(config, data, out, resume=resume, progress=sys.stderr.isatty()).finished

    def finetune(self, config: FinetuneConfig, origin: Path, out: Path, *, resume: bool) -> bool:
        """As `Stages.finetune`."""
        from d2ppo_core.finetune.run import finetune
        from d2ppo_core.finetune.runs import load_run
        from sim.cli.finetune import worlds_of

        cloned = load_run(origin).origin
        representation = cloned.config.data.action_representation
        worlds = worlds_of(config, image_size_px=cloned.shapes.camera_hw, action_representation=representation)
        return finetune(config, origin, worlds, out, resume=resume, progress=sys.stderr.isatty()).finished

    def evaluate(self, folder: Path, seeds: range) -> dict[str, Any]:
        """As `Stages.evaluate`."""
        import torch

        from d2ppo_core.evaluation.policies import open_policies
        from d2ppo_core.evaluation.results import Result
        from d2ppo_core.pretrain.provenance import git_commit
        from sim.evaluation.evaluators import BatchedEvaluator, check_policies

        policies = open_policies(folder)
        check_policies(policies, policies.task)
        torch.set_num_threads(1)
        variant = policies.variants(["ema"])[0]
        evaluator = BatchedEvaluator(policies, num_envs=min(WORLDS, len(seeds)), threads=len(os.sched_getaffinity(0)))
        began_s = time.monotonic()
        try:
            episodes = evaluator.run(variant, seeds)
        finally:
            evaluator.close()
        wall_s = time.monotonic() - began_s
        row = Result(task=policies.task, where=evaluator.where, variant=variant, episodes=episodes, wall_s=wall_s)
        return row.to_json() | {"commit": git_commit((".", "../sim"))}  # that of training stands beside it


class _Lists(click.Command):
    """`--seeds 0 1 2` and `--seeds 0 --seeds 1 --seeds 2` mean the same."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As `click.Command.parse_args`, with the option repeated before each of its values."""
        spread: list[str] = []
        option, values = "", 0
        for word in (*args, "--"):  # the last one ends the last list
            if option and word.startswith("--") and not values:
                raise ConfigError(f"{option}: wanted at least one value, got none")
            if word.startswith("-"):
                option, values = word if word in _LISTS else "", 0
            elif option:
                spread.append(option)
                values += 1
            if word not in _LISTS:
                spread.append(word)
        spread.pop()
        return super().parse_args(ctx, spread)


@click.command(cls=_Lists)
@click.argument("name", required=False)
@click.option("--tasks", multiple=True, metavar="TASK...", help="Which to run.  [default: all of the plan]")
@click.option("--cells", multiple=True, metavar="CELL...", help="Which to run.  [default: all of the plan]")
@click.option(
    "--seeds",
    multiple=True,
    type=click.IntRange(0),
    metavar="SEED...",
    help="Of training.  [default: those of the plan]",
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder.  [default: runs/experiments/NAME]")
@click.option("--data", help="Datasets, {task} standing for the task.  [default: data/{task}.hdf5]")
@click.option("--episodes", type=click.IntRange(1), help="Per run, to measure it.  [default: 200]")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE",
    help="Override for all runs, e.g. optim.steps=1500, or finetune.iterations=20 of the second stage.",
)  # fmt: skip
@click.option(
    "--best-rates", is_flag=True, help="Of each arm only its best cell so far, of those measured on selection seeds."
)
@click.option("--list", "listing", is_flag=True, help="Show all experiments, or the cells of NAME.")
@click.option("--dry-run", is_flag=True, help="Show the runs and which of them are finished.")
@click.option("--table-only", is_flag=True, help="Only make table and picture anew, from the run folders.")
def experiment(
    name: str | None,
    tasks: tuple[str, ...],
    cells: tuple[str, ...],
    seeds: tuple[int, ...],
    out: Path | None,
    data: str | None,
    episodes: int | None,
    overrides: tuple[str, ...],
    best_rates: bool,
    listing: bool,
    dry_run: bool,
    table_only: bool,
) -> None:
    """Compare trainings: run the experiment NAME.

    It trains all its cells, measures every policy and writes results.md, .csv and .png.

    Finished runs are skipped and interrupted ones continued, so the same command goes on after a stop. A folder keeps
    the settings that it was begun with; they need not be repeated. A name comes before --tasks, --cells and --seeds.
    """
    if listing:
        return _show_plans(name)
    if name is None:
        raise ConfigError(f"wanted the name of an experiment: {', '.join(PLANS)}")
    plan = find_plan(name)
    out = out or default_out(name)
    given: dict[str, Any] = {"data": data, "episodes": episodes, "overrides": overrides}
    settings = _settings(plan, out, {key: value for key, value in given.items() if value})
    runs = plan.runs(tasks or plan.tasks, seeds or plan.seeds, cells)
    if best_rates:
        runs = _at_best_rates(plan, settings, runs)
    if dry_run:
        return _show_runs(runs, settings)
    if not table_only:
        _check_data(runs, settings)
        _advise(runs, settings)
        settings.save()
        progress = execute(runs, settings, RunStages())
        said = "stopped; the same command goes on from here" if progress.stopped else "done"
        click.echo(f"{out}: {progress.finished} of {len(runs)} runs finished, {said}")
    click.echo(f"results: {write_results(plan, settings, _all_seeds(plan, out, seeds))}")


def _settings(plan: Plan, out: Path, given: dict[str, Any]) -> Settings:
    held = load_settings(out, plan.name)
    base = {} if held is None else held.to_json() | {"overrides": held.overrides}
    return Settings(**{"experiment": plan.name, **base, **given, "out": str(out)})


def _at_best_rates(plan: Plan, settings: Settings, runs: tuple[PlannedRun, ...]) -> tuple[PlannedRun, ...]:
    """Those of the cells at which the arms stand. Raises ConfigError where no arm was measured yet on a task."""
    rows = read_rows(plan, settings, plan.tasks, _all_seeds(plan, Path(settings.out), ()))
    best = {task: best_cells(plan, rows, task) for task in dict.fromkeys(run.task for run in runs)}
    if without := [task for task, cells in best.items() if not cells]:
        seeds = " ".join(map(str, plan.selection_seeds or plan.seeds))
        wanted = f"run it first with --seeds {seeds}" if any(c.arm for c in plan.cells) else "its cells have no arms"
        raise ConfigError(f"--best-rates: no arm of {plan.name} was measured on {', '.join(without)}: {wanted}")
    return tuple(run for run in runs if run.cell.name in best[run.task])


def _all_seeds(plan: Plan, out: Path, seeds: tuple[int, ...]) -> list[int]:
    """Those asked for, else those of the plan; and those of runs that are there."""
    names = [folder.name.removeprefix("seed") for folder in out.glob("*/*/seed*")]
    return sorted({*(seeds or plan.seeds), *(int(name) for name in names if name.isdecimal())})


def _check_data(runs: tuple[PlannedRun, ...], settings: Settings) -> None:
    """Raise ConfigError before the first run when a later one could not begin."""
    for task in dict.fromkeys(run.task for run in runs):
        if not settings.dataset(task).is_file():
            raise ConfigError(
                f"{settings.dataset(task)}: no such dataset; name yours by --data, e.g. demos/{{task}}.hdf5"
            )
    for run in runs:
        run.pretrain_config(settings.overrides)
        if run.plan.tunes:
            run.finetune_config(settings.overrides)


def _advise(runs: tuple[PlannedRun, ...], settings: Settings) -> None:
    """Say what makes the runs slow on this machine, once."""
    from d2ppo_core.pretrain.device import advice  # imports torch

    for hint in sorted({advice(run.pretrain_config(settings.overrides).optim) for run in runs} - {""}):
        click.echo(f"d2ppo: {hint}", err=True)


def _show_plans(name: str | None) -> None:
    for plan in PLANS.values() if name is None else [find_plan(name)]:
        count = len(plan.runs(plan.tasks, plan.seeds))
        click.echo(f"{plan.name}: {plan.question}")
        click.echo(f"    {len(plan.cells)} cells x {', '.join(plan.tasks)} x {len(plan.seeds)} seeds = {count} runs")
        if name is not None:
            for cell in plan.cells:
                words = [*cell.pretrain, *(f"finetune.{text}" for text in cell.finetune)]
                words += [f"steps x {cell.steps_factor:g}"] * (cell.steps_factor != 1)
                words += [f"clone of {cell.clone_of}"] * bool(cell.clone_of)
                mark = " (reference)" if cell.name == plan.reference else ""
                click.echo(f"    {cell.name}{mark}: {' '.join(words)}")


def _show_runs(runs: tuple[PlannedRun, ...], settings: Settings) -> None:
    for run in runs:
        folder = run.folder(Path(settings.out))
        state = "finished" if is_finished(run, settings) else "begun" if _begun(run, folder) else "not run"
        steps = f"{run.pretrain_config(settings.overrides).optim.steps} steps"
        if run.plan.tunes:
            steps += f", {run.finetune_config(settings.overrides).iterations} iterations"
        click.echo(f"{run.label}: {state} ({steps})")
    click.echo(f"{len(runs)} runs in {settings.out}")


def _begun(run: PlannedRun, folder: Path) -> bool:
    return load_record(folder) is not None or any(folder.glob("*/*.pt"))


if __name__ == "__main__":
    experiment()
