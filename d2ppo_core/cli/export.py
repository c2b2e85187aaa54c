"""`d2ppo export`: turn a training run into a bundle that robots can run."""

from pathlib import Path

import click
import yaml

from d2ppo_core.config.schema import SAMPLER_TIMES
from d2ppo_core.errors import ConfigError


@click.command()
@click.argument("task_and_run", nargs=-1, required=True, metavar="[TASK] RUN")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder of the bundle; an older bundle there is replaced, nothing else.  [default: bundles/<run>]",
)
@click.option("--weights", help="ema, raw or best.  [default: best where fine-tuning was evaluated, else ema]")
@click.option(
    "--data", type=click.Path(path_type=Path), help="Dataset for the golden example and half of the parity samples."
)
@click.option(
    "--times", type=click.Choice(SAMPLER_TIMES), help="Where a clone's denoising steps lie.  [default: as in its run]"
)
@click.option("--steps", type=click.IntRange(min=1), metavar="K", help="Denoising steps.  [default: as in its run]")
@click.option("--samples", type=click.IntRange(min=1), default=200, show_default=True, help="Parity samples.")
@click.option("--note", type=click.Path(path_type=Path), help="YAML mapping that joins the manifest's provenance.")
def export(
    task_and_run: tuple[str, ...],
    out: Path | None,
    weights: str | None,
    data: Path | None,
    times: str | None,
    steps: int | None,
    samples: int,
    note: Path | None,
) -> None:
    """Turn the policy of RUN into a bundle that robots can run.

    RUN is of either stage. Refuses when the graph deviates from the torch sampler. With TASK it also refuses a policy
    for another task.
    """
    if len(task_and_run) > 2:
        raise ConfigError(f"wanted [TASK] RUN, got {' '.join(task_and_run)}")
    task, run = task_and_run[0] if len(task_and_run) == 2 else None, Path(task_and_run[-1])
    extra = None
    if note is not None:
        if not note.is_file():
            raise ConfigError(f"{note}: no such file")
        try:
            extra = yaml.safe_load(note.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ConfigError(f"{note}: wanted YAML in UTF-8 ({' '.join(str(error).split())})") from error
        if not isinstance(extra, dict):
            raise ConfigError(f"{note}: wanted a mapping, got {extra!r}")
    from d2ppo_core.export.onnx import export_run  # imports torch

    out = out or Path("bundles") / run.resolve().name
    done = export_run(
        run, out, task=task, weights=weights, data=data, times=times, steps=steps, samples=samples, extra=extra
    )
    click.echo(
        f"{done.folder}: bundle {done.bundle_hash} of weights {done.weights}, graph {done.size_bytes / 2**20:.1f} MiB, "
        f"parity {done.parity.max_deviation:.1e} over {done.parity.samples} samples"
    )


if __name__ == "__main__":
    export()
