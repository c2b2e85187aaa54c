"""`d2ppo demos`: record demonstrations of a scripted expert."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from tqdm import tqdm

from d2ppo_core.errors import D2ppoError


@click.command()
@click.argument("task")
@click.option(
    "--num",
    "num_demos",
    default=200,
    show_default=True,
    type=click.IntRange(1),
    help="Demonstrations that the file shall hold.",
)
@click.option(
    "--skill",
    nargs=2,
    type=click.FloatRange(0, 1),
    default=(0.5, 1.0),
    show_default=True,
    help="Range: 0 sloppy, 1 careful.",
)
@click.option(
    "--in",
    "worlds",
    type=click.Choice(["robosuite", "batched"]),
    help="Where the expert acts; default: robosuite, where it has the task. Batched worlds take a quarter of the time; "
    "the actions played back in robosuite then stray a little.",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Decides everything that is random.")
@click.option("--images/--no-images", default=True, show_default=True, help="Also render the task's cameras.")
@click.option("--image-size", default=96, show_default=True, help="Width and height of the pictures, pixels.")
@click.option(
    "--next-images",
    is_flag=True,
    help="Store the pictures after each step too, for robomimic's own default training (twice the size).",
)
@click.option(
    "--arm-limits",
    is_flag=True,
    help="Keep no demonstration in which an arm leans on an end of its joints or is stretched out, as no real one can.",
)
@click.option("--workers", "num_workers", default=2, show_default=True, type=click.IntRange(1), help="Processes.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Default: data/<task>.hdf5.")
def demos(
    task: str,
    num_demos: int,
    skill: tuple[float, float],
    worlds: str | None,
    seed: int,
    images: bool,
    image_size: int,
    next_images: bool,
    arm_limits: bool,
    num_workers: int,
    out: Path | None,
) -> None:
    """Record demonstrations of TASK by a scripted expert.

    TASK is a name, or the path of the folder of a task of your own.

    They go into a robomimic HDF5 file; an unfinished file is continued.
    """
    from sim.experts.recording import Recording, record
    from sim.experts.studio import BATCHED, ROBOSUITE
    from sim.tasks import task_named

    known = task_named(task)
    task = known.name
    recording = Recording(
        task=task,
        seed=seed,
        skill_min=skill[0],
        skill_max=skill[1],
        images=images,
        image_size_px=image_size,
        next_images=next_images,
        worlds=worlds or (ROBOSUITE if known.in_robosuite else BATCHED),
        arm_limits=arm_limits,
    )
    path = out or Path("data") / f"{task}.hdf5"
    attempts = kept = steps = 0
    with tqdm(total=num_demos, unit="demo", desc=task, dynamic_ncols=True) as bar:
        for progress in record(recording, path, num_demos=num_demos, num_workers=num_workers):
            attempts += 1
            kept += progress.kept
            steps += progress.steps
            bar.n = progress.demos
            bar.set_postfix(success=f"{kept}/{attempts}", refresh=False)
            bar.update(0)
        bar.n = num_demos
    if not attempts:
        click.echo(f"{path} already holds {num_demos} demonstrations")
        return
    size_mib = path.stat().st_size / 2**20
    click.echo(f"{path}: {kept} demonstrations added from {attempts} attempts, {steps} steps, {size_mib:.1f} MiB")


if __name__ == "__main__":
    try:
        demos(prog_name="d2ppo demos")
    except D2ppoError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
