"""`d2ppo data`: look at, convert and play back files of demonstrations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click
from tqdm import tqdm

from d2ppo_core.errors import DataError
from sim.cli import recorded

FILE = click.Path(dir_okay=False, path_type=Path)


@click.group()
def data() -> None:
    """Look at, judge, convert and play back demonstrations."""


for verb in (recorded.ls, recorded.judge, recorded.salvage):
    data.add_command(verb)


@data.command()
@click.argument("file", type=FILE)
def info(file: Path) -> None:
    """Say what FILE (robomimic's HDF5 layout) holds."""
    from d2ppo_core.data.summary import summarize

    click.echo(summarize(file))


@data.command()
@click.argument("source", type=FILE)
@click.option("--to", "layout", type=click.Choice(["lerobot", "robomimic"]), required=True, help="Format to write.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="New folder (lerobot) or file (robomimic).")
@click.option(
    "--actions",
    type=click.Choice(["expert", "executed"]),
    default="expert",
    show_default=True,
    help="lerobot: what the demonstrator meant, or what the controller got.",
)
@click.option("--instruction", help="lerobot: the task in words.")
def convert(source: Path, layout: str, out: Path, actions: str, instruction: str | None) -> None:
    """Write SOURCE in another layout.

    LeRobot v3.0, or robomimic's HDF5 as this version writes it.
    """
    from d2ppo_core.data.lerobot import export_lerobot
    from d2ppo_core.data.rewrite import rewrite

    left_out: Mapping[str, str] = {}
    with tqdm(unit="demo", desc=layout, dynamic_ncols=True) as bar:

        def advance(done: int, total: int) -> None:
            bar.total, bar.n = total, done
            bar.refresh()

        if layout == "robomimic":
            episodes = rewrite(source, out, on_episode=advance)
            report = f"{episodes} demonstrations"
        else:
            summary = export_lerobot(source, out, action_target=actions, instruction=instruction, on_episode=advance)
            videos = f", videos of {', '.join(summary.cameras)}" if summary.cameras else ""
            report = f"{summary.episodes} episodes, {summary.frames} frames{videos}"
            left_out = summary.left_out
    click.echo(f"{out}: {report}")
    for key, reason in left_out.items():
        click.echo(f"left out: {key} ({reason})")


@data.command()
@click.argument("file", type=FILE)
@click.option("--num", type=click.IntRange(1), help="Only so many demonstrations; default all.")
@click.option("--filter-key", help="Only this subset.")
def playback(file: Path, num: int | None, filter_key: str | None) -> None:
    """Repeat the demonstrations of FILE in robosuite.

    Exits with 2 unless every one is solved again.
    """
    from sim.evaluation.playback import playback as play_all

    solved, failed, worst = 0, [], 0.0
    with tqdm(unit="demo", desc="playback", dynamic_ncols=True) as bar:
        for result in play_all(file, num=num, filter_key=filter_key):
            solved += result.success
            worst = max(worst, result.state_error)
            if not result.success:
                failed.append(result.name)
            bar.total = result.total
            bar.update()
    if failed:
        raise DataError(f"{file}: {solved} solved again, but not {', '.join(failed)}")
    click.echo(f"{file}: all {solved} demonstrations solved again, states within {worst:.1e} of the recorded ones")
