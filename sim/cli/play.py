"""`d2ppo play`: watch an expert, a policy or a recorded demonstration."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from d2ppo_core.errors import ConfigError, DataError, WorldError

if TYPE_CHECKING:
    from sim.evaluation.film import Source
    from sim.evaluation.stage import Stage

CAMERAS = {"lift": "frontview"}
WHOLE_SCENE = "agentview"


@click.command()
@click.argument("task")
@click.option("--bundle", type=click.Path(path_type=Path), help="Show this policy instead of the scripted expert.")
@click.option(
    "--episode", "file", type=click.Path(dir_okay=False, path_type=Path), help="Show a demonstration of FILE."
)
@click.option("--demo", default="demo_0", show_default=True, help="Which demonstration of --episode.")
@click.option("--num", default=1, show_default=True, type=click.IntRange(1), help="Episodes, one after the other.")
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=click.IntRange(0),
    help="World of the first episode; the next takes the next.",
)
@click.option(
    "--skill",
    type=click.FloatRange(0, 1),
    help="Of the expert, 0 sloppy … 1 careful, with all variety; default: plain.",
)
@click.option("--camera", help="Default: a camera that sees the whole scene.")
@click.option(
    "--size", nargs=2, type=click.IntRange(2), default=(640, 480), show_default=True, help="Width and height, pixels."
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Default: runs/play/<task>.mp4.")
@click.option("--live/--film", default=None, help="Viewer or MP4; default: viewer where there is a display.")
def play(
    task: str,
    bundle: Path | None,
    file: Path | None,
    demo: str,
    num: int,
    seed: int,
    skill: float | None,
    camera: str | None,
    size: tuple[int, int],
    out: Path | None,
    live: bool | None,
) -> None:
    """Film or watch TASK: expert, policy or demonstration.

    Done by its scripted expert, by a policy (--bundle) or as recorded (--episode).
    """
    from d2ppo_core.output import writing_file
    from d2ppo_core.recognise import is_film
    from sim.evaluation.film import Film, Screen, Viewer
    from sim.evaluation.film import play as run
    from sim.evaluation.stage import open_stage
    from sim.tasks import task_named

    if bundle and file:
        raise ConfigError("wanted --bundle or --episode, got both")
    task = task_named(task).name
    path = out or Path("runs") / "play" / f"{task}.mp4"
    live = _opens_viewer(live, out)
    with ExitStack() as stack:
        unfinished = (
            path if live else stack.enter_context(writing_file(path, "film", is_film))
        )  # a failure keeps the last
        env = open_stage(task)
        stack.callback(env.close)
        sources = _sources(env, task, bundle=bundle, file=file, demo=demo, num=num, seed=seed, skill=skill)
        camera = camera or CAMERAS.get(task, WHOLE_SCENE)
        screen: Screen = Viewer() if live else Film(unfinished, camera=camera, width=size[0], height=size[1])
        stack.callback(screen.close)
        for title, source in sources:
            outcome = run(env, source, screen)
            result = "solved after" if outcome.success else "not solved in"
            click.echo(f"{title}: {result} {outcome.steps} control steps")
    if not live:
        click.echo(f"{path} ({path.stat().st_size / 2**20:.1f} MiB)")


def _opens_viewer(live: bool | None, out: Path | None) -> bool:
    """Whether to open the viewer: where it is asked for, or where nothing is and a display answers.

    Raises WorldError where it is asked for and none answers.
    """
    from sim.evaluation.film import display_problem

    if live is False or live is None and (out is not None or not os.environ.get("DISPLAY")):
        return False
    problem = display_problem()
    if live and problem:
        raise WorldError(f"the viewer wants a display: {problem}; make a film instead: --film")
    if problem:
        click.echo(f"d2ppo: {problem}; making a film", err=True)
    return not problem


def _sources(
    env: Stage,
    task: str,
    *,
    bundle: Path | None,
    file: Path | None,
    demo: str,
    num: int,
    seed: int,
    skill: float | None,
) -> Iterator[tuple[str, Source]]:
    """Titles and episodes, in order."""
    from sim.evaluation.film import expert_episode, policy_episode, recorded_episode

    if file is not None:
        from d2ppo_core.data.episodes import EpisodeReader

        with EpisodeReader(file, env_name=env.task.env_name) as reader:
            first = reader.position(demo)
            for name in reader.names[first : first + num]:
                episode = reader.read(name, keys=[])
                if not episode.states.size:
                    raise DataError(f"{file}: {name} holds no states to show")
                yield f"{file} {name}", recorded_episode(env, episode, f"{file}: {name}")
        return
    if bundle is None:
        for number in range(seed, seed + num):
            yield f"expert, seed {number}", expert_episode(env, task, number, skill)
        return
    from d2ppo_core.bundle import load_bundle
    from d2ppo_core.evaluation.samplers import BundleSampler
    from d2ppo_core.runtime.inference.policy import Policy
    from sim.evaluation.episodes import seeded_policy

    policy = Policy(load_bundle(bundle))
    manifest = policy.manifest
    if manifest.task != task:
        raise ConfigError(f"wanted a policy for {task}, got {manifest.name} for {manifest.task}")
    cameras = manifest.image_observations
    if cameras:
        env.image_size_px = cameras[0].shape[0], cameras[0].shape[1]
    for number in range(seed, seed + num):
        yield (
            f"{manifest.name}, seed {number}",
            policy_episode(
                env,
                seeded_policy(BundleSampler(policy), number),
                number,
                action_horizon=manifest.action_horizon,
                representation=manifest.action.representation,
                images=bool(cameras),
                max_steps=env.task.horizon_steps,
            ),
        )
