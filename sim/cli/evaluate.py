"""`d2ppo evaluate`: measure trained policies in batched worlds, in robosuite, and in a live stack."""

from __future__ import annotations

import math
import os
import platform
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from tqdm import tqdm

from d2ppo_core.cli.up import parse_settings
from d2ppo_core.config.schema import SAMPLER_TIMES
from d2ppo_core.errors import ConfigError
from d2ppo_core.output import check_file
from d2ppo_core.recognise import is_record
from d2ppo_core.stack.stepping import DETERMINISTIC, REAL_TIME, STEPPING
from sim.evaluation.live import SIM, LiveRequest, delayed, live_evaluator
from sim.evaluation.spelling import new_spelling

if TYPE_CHECKING:
    from d2ppo_core.evaluation.results import Result
    from d2ppo_core.evaluation.samplers import Variant
    from sim.evaluation.evaluators import Evaluator
    from sim.tasks.base import Task

PLACES = ("batched", "robosuite")
STACK = "stack"
_IN_WORLDS = ("weights", "sampling", "steps", "times", "ladder", "worlds", "processes", "threads")
_IN_STACK = ("stack", "settings", "stepping", "horizon", "force")
"""Options that mean something in one kind of place only."""
_EPISODES = {STACK: 10}
_MANY = 200
_VERSIONS = ("d2ppo-panda", "numpy", "torch", "mujoco", "robosuite", "onnxruntime")
_ARGUMENTS = "d2ppo.evaluate.arguments"


class Evaluate(click.Command):
    """Remembers how it was called, and answers an old spelling with the new one."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """As `click.Command.make_context`. Raises ConfigError for an old spelling."""
        if now := new_spelling(args):
            raise ConfigError(f"evaluate takes task and policy first, wherever it is; write: {now}")
        line = shlex.join(args)
        context = super().make_context(info_name, args, parent, **extra)
        context.meta[_ARGUMENTS] = line
        return context


def _listed(ctx: click.Context, option: click.Parameter, values: Sequence[str]) -> tuple[str, ...]:
    """`--steps 1,2 --steps 5` and `--steps 1 --steps 2 --steps 5` mean the same."""
    return tuple(item.strip() for value in values for item in value.split(",") if item.strip())


def _numbers(ctx: click.Context, option: click.Parameter, values: Sequence[str]) -> tuple[int, ...]:
    items = _listed(ctx, option, values)
    if wrong := [item for item in items if not item.isdecimal()]:
        raise ConfigError(f"--{option.name}: wanted whole numbers, got {', '.join(wrong)}")
    return tuple(int(item) for item in items)


@click.command(cls=Evaluate)
@click.argument("task")
@click.argument("policy", required=False, default="")
@click.option(
    "--in", "where", default="batched", show_default=True, metavar="[batched|robosuite|both|stack]",
    help="Worlds, or the live stack; `both` runs the same episodes in both kinds of worlds and compares them.",
)  # fmt: skip
@click.option("--episodes", type=click.IntRange(1), help="Episodes per policy  [default: 200, 10 in a stack].")
@click.option("--seed", default=1000, show_default=True, type=click.IntRange(0), help="Of the first episode.")
@click.option(
    "--out", type=click.Path(path_type=Path),
    help="Also write everything to this JSON file; in a stack, the report's folder  [default: reports/<time>].",
)  # fmt: skip
@click.option(
    "--weights", multiple=True, callback=_listed, metavar="[ema|raw|best]",
    help="Worlds: which of a run's; default: best where fine-tuning was evaluated, else ema.",
)  # fmt: skip
@click.option(
    "--sampling", multiple=True, callback=_listed, metavar="[deterministic|stochastic]",
    help="Worlds: as exported (default), or with noise in every step, as fine-tuning explores.",
)  # fmt: skip
@click.option(
    "--steps", multiple=True, callback=_numbers, metavar="K",
    help="Worlds: denoising steps; default: the configured number.",
)  # fmt: skip
@click.option(
    "--times", type=click.Choice(SAMPLER_TIMES),
    help="Worlds: where a clone's denoising steps lie; default: as it was trained.",
)  # fmt: skip
@click.option("--ladder", is_flag=True, help="Worlds: all weights with K = 1, 2, 5, 10, 20 and stochastic.")
@click.option("--worlds", default=50, show_default=True, type=click.IntRange(1), help="Batched worlds side by side.")
@click.option("--processes", default=2, show_default=True, type=click.IntRange(1), help="Of robosuite.")
@click.option("--threads", type=click.IntRange(1), help="Of batched worlds and image encoders; default: all cores.")
@click.option("--stack", default=SIM, show_default=True, help="Stack: name or file of the one to start.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Stack: an argument or node.parameter.")
@click.option(
    "--stepping", type=click.Choice([DETERMINISTIC, REAL_TIME]),
    help="Stack: a seed gives the same motion, or timing is measured  [default: deterministic where the stack can].",
)  # fmt: skip
@click.option(
    "--horizon", type=click.FloatRange(0, min_open=True),
    help="Stack: simulated seconds per episode  [default: the task's].",
)  # fmt: skip
@click.option(
    "--delay", multiple=True, callback=_listed, metavar="MS|FILE",
    help="From an observation to its chunk, each in turn: milliseconds, or the evaluation.json of a stack to draw "
    "from. With several and --out, a figure beside it.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Stack: run a bundle of another task, camera or cell all the same.")
@click.pass_context
def evaluate(ctx: click.Context, /, task: str, policy: str, where: str, **options: Any) -> None:
    """Measure how often POLICY solves TASK, with 95 % intervals.

    POLICY is the folder of a run of either stage or of a bundle, or a shipped bundle's name; left out, the task's own
    bundle. A stack runs bundles only. What may be asked for several times also takes a list: --steps 1,2,5. An episode
    ends when solved or at the task's horizon; that of a seed is the same in batched worlds and in robosuite, and
    in the stack its objects start alike.
    """
    if where not in (*PLACES, "both", STACK):
        raise ConfigError(f"--in: wanted one of {', '.join(PLACES)}, both, {STACK}, got {where!r}")
    _refuse_foreign(ctx, where)
    from sim.tasks import task_named  # imports mujoco, which --help must not

    known = task_named(task)
    if where in ("robosuite", "both") and not known.in_robosuite:
        raise ConfigError(f"robosuite does not have task {known.name}; measure it --in batched or --in stack")
    if not policy and not known.bundle:
        raise ConfigError(f"task {task} has no bundle of its own yet; name a policy: d2ppo evaluate {task} POLICY")
    wish = {**options, "episodes": options["episodes"] or _EPISODES.get(where, _MANY)}
    command = f"d2ppo evaluate {ctx.meta[_ARGUMENTS]}"
    if where == STACK:
        _in_a_stack(command, known, policy, wish)
    else:
        _in_worlds(command, known.name, policy or known.bundle, where, wish)


def _refuse_foreign(ctx: click.Context, where: str) -> None:
    """Raise ConfigError for an option that was given and has no meaning in this kind of place."""
    foreign, home = (_IN_WORLDS, "worlds") if where == STACK else (_IN_STACK, "a stack")
    for option in ctx.command.params:
        if option.name in foreign and ctx.get_parameter_source(option.name) == click.core.ParameterSource.COMMANDLINE:
            raise ConfigError(f"{option.opts[0]} is for {home}; it says nothing with --in {where}")


def _in_a_stack(command: str, task: Task, policy: str, wish: Mapping[str, Any]) -> None:
    horizon_s = wish["horizon"] or task.horizon_s
    if not math.isfinite(horizon_s):
        raise ConfigError(f"--horizon: wanted seconds, got {horizon_s}")
    stepping = {STEPPING: wish["stepping"]} if wish["stepping"] else {}
    settings = stepping | parse_settings(wish["settings"]) | ({"force": "true"} if wish["force"] else {})
    request = LiveRequest(
        command=command,
        task=task.name,
        policy=policy or task.bundle,
        stack=wish["stack"],
        episodes=wish["episodes"],
        seed=wish["seed"],
        horizon_s=horizon_s,
        out=wish["out"],
        settings=settings,
    )
    run = live_evaluator()
    for late in delayed(request, wish["delay"]) or (request,):
        run(late)


def _in_worlds(command: str, task: str, policy: str, where: str, wish: Mapping[str, Any]) -> None:
    seed, episodes, out = wish["seed"], wish["episodes"], wish["out"]
    if wish["ladder"] and (wish["sampling"] or wish["steps"]):
        raise ConfigError("wanted --ladder or --sampling and --steps, got both")
    if out is not None:
        check_file(out, "record of an evaluation", is_record("command", "policy", "rows"))

    import torch

    from d2ppo_core.evaluation.policies import open_policies
    from sim.evaluation.delays import draw_delays
    from sim.evaluation.evaluators import BatchedEvaluator, RobosuiteEvaluator, check_policies

    policies = open_policies(policy, wish["times"])
    check_policies(policies, task)
    weights = wish["weights"]
    variants = (
        policies.ladder(weights) if wish["ladder"] else policies.variants(weights, wish["sampling"], wish["steps"])
    )
    places = PLACES if where == "both" else (where,)
    threads = wish["threads"] or len(os.sched_getaffinity(0))
    torch.set_num_threads(threads if policies.image_keys else 1)  # small networks lose by more
    record = {
        "command": command,
        "task": task,
        "policy": {"path": policy, **policies.record()},
        "seed": seed,
        "episodes": episodes,
        **_machinery(),
    }
    with ExitStack() as stack:
        evaluators: list[Evaluator] = []
        for place, delay in product(places, wish["delay"] or ("",)):
            if place == "batched":
                num_envs = min(wish["worlds"], episodes)
                evaluators.append(BatchedEvaluator(policies, num_envs=num_envs, threads=threads, delay=delay))
            else:
                processes = min(wish["processes"], episodes)
                evaluators.append(RobosuiteEvaluator(policies, processes=processes, delay=delay))
            stack.callback(evaluators[-1].close)
        rows = _measure(evaluators, task, variants, range(seed, seed + episodes), record, out)
    if out is not None and len(wish["delay"]) > 1:
        click.echo(f"figure: {draw_delays(rows, out.with_suffix('.png'))}")


def _measure(
    evaluators: Sequence[Evaluator],
    task: str,
    variants: Sequence[Variant],
    seeds: range,
    record: dict[str, Any],
    out: Path | None,
) -> list[Result]:
    """Fill the table row by row, and the file with it, so that an evaluation cut short leaves what it found."""
    from d2ppo_core.evaluation.results import HEADER, Comparison, Result, write_record

    rows: list[Result] = []
    pairs: list[Comparison] = []

    def save() -> None:
        if out is not None:
            found = {"rows": [row.to_json() for row in rows], "comparisons": [pair.to_json() for pair in pairs]}
            write_record(out, {**record, **found})

    if out is not None and not out.exists():
        save()  # tells a place that cannot be written before the work; an older record stays until the first row
    with tqdm(total=len(variants) * len(evaluators) * len(seeds), unit="episode", dynamic_ncols=True) as bar:
        bar.write(HEADER)
        for variant in variants:
            for evaluator in evaluators:
                bar.set_description(
                    f"{evaluator.where} {variant.weights} {variant.sampling[:5]} {variant.num_denoising_steps}"
                )
                began_s = time.monotonic()
                episodes = evaluator.run(variant, seeds, _moving(bar))
                wall_s = time.monotonic() - began_s
                rows.append(Result(task=task, where=evaluator.where, variant=variant, episodes=episodes, wall_s=wall_s))
                bar.write(rows[-1].line())
                if stages := rows[-1].stages_line():
                    bar.write(f"          seen of {len(seeds)}: {stages}")
                save()
            if len(evaluators) == 2:
                pairs.append(Comparison(first=rows[-2], second=rows[-1]))
                save()
    for pair in pairs:
        click.echo(pair.line())
    if out is not None:
        click.echo(f"record: {out}")
    return rows


def _moving(bar: tqdm[Any]) -> Callable[[int], None]:
    """What moves a bar to so many episodes beyond where it stands now."""
    start = bar.n

    def move(done: int) -> None:
        bar.update(start + done - bar.n)

    return move


def _machinery() -> dict[str, Any]:
    """Threads, commit and versions."""
    import torch

    from d2ppo_core.pretrain.provenance import git_commit

    versions = {"python": platform.python_version()}
    for name in _VERSIONS:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return {"threads": torch.get_num_threads(), "commit": git_commit((".", "../sim")), "versions": versions}


if __name__ == "__main__":
    evaluate()
