"""``d2ppo evaluate --stack …``: runs episodes in a live stack and writes a report."""

import json
import math
import os
import platform
from datetime import datetime
from pathlib import Path

import click
from tqdm import tqdm

from d2ppo_core.analysis.evaluation import Episode, Evaluation
from d2ppo_core.analysis.pages import WHAT
from d2ppo_core.analysis.report import Film, chosen_episodes, write_report
from d2ppo_core.bundle import load_bundle
from d2ppo_core.cli.up import parse_settings
from d2ppo_core.errors import ConfigError, StackError
from d2ppo_core.output import check_file, writing_file
from d2ppo_core.recognise import is_page, is_record
from d2ppo_core.stack.loader import load_stack
from d2ppo_core.stack.runner import Stack
from d2ppo_nodes.client import StackClient
from d2ppo_nodes.episodes import EpisodeRunner
from sim.tasks import task_named
from sim.world.replay import render_positions

_START_S = 90.0
_RECORD, _PAGE = "evaluation.json", "report.html"
_KIND = ("record of an evaluation", is_record("stack", "bundle", "episodes"))
_SCENE_SIZE = (480, 368)


@click.command()
@click.option("--stack", "stack_name", default="sim", show_default=True, help="Stack to start and evaluate in.")
@click.option("--bundle", default="lift_image", show_default=True, help="Bundle folder, or a shipped bundle's name.")
@click.option("--episodes", default=10, show_default=True, type=click.IntRange(1), help="Episodes to run.")
@click.option(
    "--seed", default=1000, show_default=True, type=click.IntRange(0), help="Seed of the first episode's world."
)
@click.option(
    "--horizon",
    type=click.FloatRange(0, min_open=True),
    help="Simulated seconds per episode  [default: the task's].",
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the report  [default: reports/<time>].")
@click.option("--set", "overrides", multiple=True, metavar="NODE.PARAM=VALUE", help="Override a node's parameter.")
def evaluate(
    stack_name: str,
    bundle: str,
    episodes: int,
    seed: int,
    horizon: float | None,
    out: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Run episodes in a live stack; print success and latencies, write an HTML report."""
    if horizon is not None and not math.isfinite(horizon):
        raise ConfigError(f"--horizon: wanted seconds, got {horizon}")
    loaded = load_bundle(bundle)
    horizon = horizon or task_named(loaded.manifest.task).horizon_s
    out = out or Path("reports") / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    check_file(out / _RECORD, *_KIND)
    check_file(out / _PAGE, WHAT, is_page)
    description = load_stack(
        stack_name, {"bundle": str(loaded.folder.resolve()), "task": loaded.manifest.task, **parse_settings(overrides)}
    )
    with Stack(description, log_file=out / "stack.log") as stack:
        results = _run_all(stack, description.namespace, episodes, seed, horizon)
    for fault in stack.faults:
        click.echo(f"d2ppo: {fault}", err=True)
    evaluation = Evaluation(
        task=loaded.manifest.task,
        stack=stack_name,
        bundle=loaded.manifest.name,
        bundle_hash=loaded.hash,
        seed=seed,
        episodes=tuple(results),
        host={"cores": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()},
    )
    with writing_file(out / _RECORD, *_KIND) as unfinished:
        unfinished.write_text(json.dumps(evaluation.to_json(), indent=1), encoding="utf-8")
    rate_hz = loaded.manifest.action.control_hz
    films = [_film(episode, evaluation.task, rate_hz) for episode in chosen_episodes(evaluation)]
    report = write_report(out / _PAGE, evaluation, films)
    for line in evaluation.lines():
        click.echo(line)
    click.echo(f"report       {report}")
    if evaluation.lost:
        raise StackError(f"{evaluation.lost} episodes were lost; see {out / 'stack.log'}")


def _run_all(stack: Stack, namespace: str, count: int, seed: int, horizon_s: float) -> list[Episode]:
    os.environ.update({k: v for k, v in stack.environment.items() if k.startswith(("ROS_", "FASTRTPS_", "RMW_"))})
    client = StackClient(f"/{namespace}")
    results: list[Episode] = []
    try:
        runner = EpisodeRunner(client, stack.check, horizon_s)
        runner.wait_until_up(_START_S)
        with tqdm(total=count, unit="episode", dynamic_ncols=True) as bar:
            for index in range(count):
                results.append(runner.run(index, seed + index))
                bar.set_postfix(
                    success=f"{sum(r.success for r in results)}/{len(results)}", last=results[-1].outcome[:30]
                )
                bar.update()
    except StackError as error:
        if not results:
            raise
        click.echo(f"evaluation cut short after {len(results)} of {count} episodes: {error}", err=True)
        results.append(_lost(len(results), seed + len(results), str(error)))
    finally:
        client.close()
    return results


def _lost(index: int, seed: int, reason: str) -> Episode:
    """An episode that the stack did not survive."""
    return Episode(
        index=index,
        seed=seed,
        success=False,
        outcome=f"lost: {reason}",
        duration_s=0.0,
        wall_s=0.0,
        ticks=0,
        missed_ticks=0,
        chunks_refused=0,
        safety_interventions=0,
        real_time_factor=0.0,
    )


def _film(episode: Episode, task: str, rate_hz: float) -> Film:
    """Pictures of an episode, drawn afterwards from its recorded positions."""
    positions = [sample.qpos for sample in episode.samples]
    return Film(
        episode=episode,
        scene=list(render_positions(task, positions, "scene", *_SCENE_SIZE)),
        wrist=list(render_positions(task, positions, "wrist", 96, 96)),
        rate_hz=rate_hz,
    )
