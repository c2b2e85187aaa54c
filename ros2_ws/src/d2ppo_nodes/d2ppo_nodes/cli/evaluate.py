"""``d2ppo evaluate … --in stack``: runs episodes in a live stack and writes a report."""

import json
import os
import platform
import time
from datetime import datetime
from pathlib import Path

import click
import numpy as np
from tqdm import tqdm

from d2ppo_core.analysis.evaluation import Episode, Evaluation
from d2ppo_core.analysis.pages import WHAT
from d2ppo_core.analysis.report import Film, chosen_episodes, write_report
from d2ppo_core.bundle import Manifest, load_bundle
from d2ppo_core.envs.episodes import Episodes
from d2ppo_core.errors import ConfigError, StackError
from d2ppo_core.evaluation.results import COLUMNS, HEADER, Result
from d2ppo_core.evaluation.samplers import DETERMINISTIC, Variant
from d2ppo_core.output import check_file, writing_file
from d2ppo_core.recognise import is_page, is_record
from d2ppo_core.stack import stepping
from d2ppo_core.stack.loader import load_stack
from d2ppo_core.stack.runner import Stack
from d2ppo_core.stack.stepping import REAL_TIME, STEPPING
from d2ppo_nodes.client import client_of
from d2ppo_nodes.episodes_in_step import episode_runner
from sim.evaluation.live import LiveRequest
from sim.tasks import task_named
from sim.world.replay import render_positions

_START_S = 90.0
_RECORD, _PAGE = "evaluation.json", "report.html"
_KIND = ("record of an evaluation", is_record("stack", "bundle", "episodes"))
_SCENE_SIZE = (480, 368)


def evaluate(request: LiveRequest) -> None:
    """Run episodes in a live stack; print success and latencies, write an HTML report.

    Raises:
        ConfigError: the bundle is of another task, or an argument of the stack is not allowed.
        BundleError: there is no such bundle, or it is damaged.
        StackError: the stack does not come up, or episodes were lost.
    """
    loaded = load_bundle(request.policy)
    manifest = loaded.manifest
    if manifest.task != request.task and request.settings.get("force") != "true":
        raise ConfigError(f"wanted a policy for {request.task}, got {request.policy} for {manifest.task} (or --force)")
    out = request.out or Path("reports") / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    check_file(out / _RECORD, *_KIND)
    check_file(out / _PAGE, WHAT, is_page)
    chosen = {
        "bundle": str(loaded.folder.resolve()),
        "task": request.task,
        **_stepping(request),
        **request.settings,
    }
    description = load_stack(request.stack, chosen)
    if manifest.num_arms != len(description.arms):
        raise ConfigError(
            f"stack {description.name} has {len(description.arms)} arm(s), bundle {manifest.name} moves "
            f"{manifest.num_arms}"
        )
    began_s = time.monotonic()
    with Stack(description, log_file=out / "stack.log") as stack:
        results = _run_all(stack, request.episodes, request.seed, request.horizon_s)
    for fault in stack.faults:
        click.echo(f"d2ppo: {fault}", err=True)
    evaluation = Evaluation(
        task=request.task,
        stack=description.name,
        bundle=manifest.name,
        bundle_hash=loaded.hash,
        seed=request.seed,
        episodes=tuple(results),
        stepping=str(description.arguments.get(STEPPING, REAL_TIME)),
        host={"cores": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()},
    )
    row = _row(evaluation, manifest, time.monotonic() - began_s)
    record = {"command": request.command, **evaluation.to_json(), "rows": [row.to_json()]}
    with writing_file(out / _RECORD, *_KIND) as unfinished:
        unfinished.write_text(json.dumps(record, indent=1), encoding="utf-8")
    films = [_film(episode, request.task, manifest) for episode in chosen_episodes(evaluation)]
    report = write_report(out / _PAGE, evaluation, films, dict(zip(COLUMNS, row.cells(), strict=True)))
    for line in (HEADER, row.line(), *evaluation.lines(), f"report       {report}"):
        click.echo(line)
    if evaluation.lost:
        raise StackError(f"{evaluation.lost} episodes were lost; see {out / 'stack.log'}")


def _row(evaluation: Evaluation, manifest: Manifest, wall_s: float) -> Result:
    """The evaluation as a row of the table that all places have; a control step is a period of the policy."""
    episodes = Episodes(
        seeds=tuple(episode.seed for episode in evaluation.episodes),
        success=np.array([episode.success for episode in evaluation.episodes], bool),
        steps=np.array([round(e.duration_s * manifest.action.control_hz) for e in evaluation.episodes], np.int32),
        stages={},
    )
    variant = Variant(weights="bundle", sampling=DETERMINISTIC, num_denoising_steps=manifest.num_denoising_steps)
    return Result(task=evaluation.task, where="stack", variant=variant, episodes=episodes, wall_s=wall_s)


def _stepping(request: LiveRequest) -> dict[str, str]:
    """How the world steps if nobody says: deterministically where stack and client can; a Panda's client cannot."""
    can = (
        STEPPING in load_stack(request.stack, _of_task(request)).arguments and request.settings.get("robot") != "panda"
    )
    return {STEPPING: stepping.DETERMINISTIC} if can else {}


def _of_task(request: LiveRequest) -> dict[str, str]:
    return {"task": request.task} if "task" in load_stack(request.stack).arguments else {}


def _run_all(stack: Stack, count: int, seed: int, horizon_s: float) -> list[Episode]:
    os.environ.update({k: v for k, v in stack.environment.items() if k.startswith(("ROS_", "FASTRTPS_", "RMW_"))})
    client = client_of(stack.description)
    results: list[Episode] = []
    try:
        runner = episode_runner(client, stack.check, horizon_s)
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


def _film(episode: Episode, task: str, manifest: Manifest) -> Film:
    """Pictures of an episode, drawn afterwards from its recorded positions: the scene, and what the policy saw."""
    positions = [sample.qpos for sample in episode.samples]
    cameras = task_named(task).cameras
    seen = next((name for name, camera in cameras.items() if camera in manifest.cameras), next(iter(cameras)))
    return Film(
        episode=episode,
        scene=list(render_positions(task, positions, "scene", *_SCENE_SIZE)),
        wrist=list(render_positions(task, positions, seen, 96, 96)),
        rate_hz=manifest.action.control_hz,
    )
