"""`d2ppo evaluate`: measure trained policies in batched worlds and in robosuite; `--stack`: in a live stack."""

from __future__ import annotations

import os
import platform
import shlex
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from tqdm import tqdm

from d2ppo_core.config.schema import SAMPLER_TIMES
from d2ppo_core.errors import ConfigError
from d2ppo_core.output import check_file
from d2ppo_core.recognise import is_record
from d2ppo_core.stack.ros_packages import FIX, missing_ros

if TYPE_CHECKING:
    from d2ppo_core.evaluation.samplers import Variant
    from sim.evaluation.evaluators import Evaluator

EVALUATORS = "d2ppo.evaluators"
"""Entry-point group: the ROS packages add the verb's use with a live stack, so that this one need not import them."""
PLACES = ("batched", "robosuite")
_VERSIONS = ("d2ppo-panda", "numpy", "torch", "mujoco", "robosuite", "onnxruntime")
_ARGUMENTS = "d2ppo.evaluate.arguments"


def live_command() -> click.Command:
    """The evaluator in a live stack. Raises ConfigError where the ROS packages are not built."""
    if lack := missing_ros():
        raise ConfigError(f"--stack: {lack}")
    for point in entry_points(group=EVALUATORS, name="live"):
        command: click.Command = point.load()
        return command
    raise ConfigError(f"--stack: d2ppo_nodes is here without its evaluator; run: {FIX}")


class Evaluate(click.Command):
    """Hands the whole command line over to the live evaluator where it names a stack."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """As `click.Command.make_context`."""
        if any(arg == "--stack" or arg.startswith("--stack=") for arg in args):
            return live_command().make_context(info_name, args, parent, **extra)
        line = shlex.join(args)
        context = super().make_context(info_name, args, parent, **extra)
        context.meta[_ARGUMENTS] = line
        return context

    def invoke(self, ctx: click.Context) -> Any:
        """As `click.Command.invoke`."""
        return super().invoke(ctx) if ctx.command is self else ctx.command.invoke(ctx)


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
@click.argument("policy")
@click.option(
    "--in", "where", default="batched", show_default=True, metavar="[batched|robosuite|both]",
    help="Worlds; `both` runs the same episodes in both and compares them.",
)  # fmt: skip
@click.option("--episodes", default=200, show_default=True, type=click.IntRange(1), help="Episodes per policy.")
@click.option("--seed", default=1000, show_default=True, type=click.IntRange(0), help="Of the first episode.")
@click.option(
    "--weights", multiple=True, callback=_listed, metavar="[ema|raw|best]",
    help="Which of a run's; default: best where fine-tuning was evaluated, else ema.",
)  # fmt: skip
@click.option(
    "--sampling", multiple=True, callback=_listed, metavar="[deterministic|stochastic]",
    help="As exported (default), or with noise in every step, as fine-tuning explores.",
)  # fmt: skip
@click.option(
    "--steps", multiple=True, callback=_numbers, metavar="K", help="Denoising steps; default: the configured number."
)
@click.option(
    "--times", type=click.Choice(SAMPLER_TIMES), help="Where a clone's denoising steps lie; default: as it was trained."
)
@click.option("--ladder", is_flag=True, help="The whole table: all weights with K = 1, 2, 5, 10, 20 and stochastic.")
@click.option("--worlds", default=50, show_default=True, type=click.IntRange(1), help="Batched worlds side by side.")
@click.option("--processes", default=2, show_default=True, type=click.IntRange(1), help="Of robosuite.")
@click.option("--threads", type=click.IntRange(1), help="Of batched worlds and image encoders; default: all cores.")
@click.option("--out", type=click.Path(path_type=Path), help="Also write everything to this JSON file.")
@click.option("--stack", expose_value=False, help="Other use: a live stack; see d2ppo evaluate --stack sim --help.")
@click.pass_context
def evaluate(
    ctx: click.Context,
    task: str,
    policy: str,
    where: str,
    episodes: int,
    seed: int,
    weights: tuple[str, ...],
    sampling: tuple[str, ...],
    steps: tuple[int, ...],
    times: str | None,
    ladder: bool,
    worlds: int,
    processes: int,
    threads: int | None,
    out: Path | None,
) -> None:
    """Measure how often POLICY solves TASK, with 95 % intervals.

    POLICY is the folder of a run of either stage or of a bundle, or a shipped bundle's name. What may be asked for
    several times also takes a list: --steps 1,2,5. An episode ends when solved or at the task's horizon; that of a seed
    is the same in batched worlds and in robosuite.
    """
    if ladder and (sampling or steps):
        raise ConfigError("wanted --ladder or --sampling and --steps, got both")
    if where not in (*PLACES, "both"):
        raise ConfigError(f"--in: wanted one of {', '.join(PLACES)}, both, got {where!r}")
    if out is not None:
        check_file(out, "record of an evaluation", is_record("command", "policy", "rows"))

    import torch

    from d2ppo_core.evaluation.policies import open_policies
    from sim.evaluation.evaluators import BatchedEvaluator, RobosuiteEvaluator, check_policies

    policies = open_policies(policy, times)
    check_policies(policies, task)
    variants = policies.ladder(weights) if ladder else policies.variants(weights, sampling, steps)
    places = PLACES if where == "both" else (where,)
    threads = threads or len(os.sched_getaffinity(0))
    torch.set_num_threads(threads if policies.image_keys else 1)  # small networks lose by more
    record = {
        "command": f"d2ppo evaluate {ctx.meta[_ARGUMENTS]}",
        "task": task,
        "policy": {"path": policy, **policies.record()},
        "seed": seed,
        "episodes": episodes,
        **_machinery(),
    }
    with ExitStack() as stack:
        evaluators: list[Evaluator] = []
        if "batched" in places:
            evaluators.append(BatchedEvaluator(policies, num_envs=min(worlds, episodes), threads=threads))
            stack.callback(evaluators[-1].close)
        if "robosuite" in places:
            evaluators.append(RobosuiteEvaluator(policies, processes=min(processes, episodes)))
            stack.callback(evaluators[-1].close)
        _measure(evaluators, task, variants, range(seed, seed + episodes), record, out)


def _measure(
    evaluators: Sequence[Evaluator],
    task: str,
    variants: Sequence[Variant],
    seeds: range,
    record: dict[str, Any],
    out: Path | None,
) -> None:
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
