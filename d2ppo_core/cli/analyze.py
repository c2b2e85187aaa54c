"""`d2ppo analyze`: what training did to a policy, as one HTML page."""

from datetime import datetime
from pathlib import Path

import click


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option("--labels", metavar="A,B,...", help="Names of the runs on the page  [default: their folders'].")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Dataset of the runs  [default: where the checkpoint says, or data/<task>.hdf5].",
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder of the page  [default: RUN; reports/<time> of several]."
)
@click.option(
    "--windows", default=2000, show_default=True, type=click.IntRange(8, 5000), help="Observations to look at."
)
@click.option(
    "--closest",
    default=0.1,
    show_default=True,
    type=click.FloatRange(0, 100, min_open=True),
    help="Percent of all pairs of observations that count as near-identical.",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of what is drawn.")
@click.option(
    "--action", "component", default=2, show_default=True, type=click.IntRange(0), help="Action component for colour."
)
@click.option("--tsne/--no-tsne", default=True, show_default=True, help="With t-SNE, which takes the longest.")
def analyze(
    runs: tuple[Path, ...],
    labels: str | None,
    data: Path | None,
    out: Path | None,
    windows: int,
    closest: float,
    seed: int,
    component: int,
    tsne: bool,
) -> None:
    """Write a page about training runs, side by side.

    It shows curves, the spread of the features, look-alikes and gradients.
    """
    from d2ppo_core.analysis.diagnostics import Settings, diagnose  # imports torch
    from d2ppo_core.analysis.diagnostics_page import check_diagnostics, write_diagnostics
    from d2ppo_core.analysis.runs import make_labels, read_run

    if out is None:
        out = runs[0] if len(runs) == 1 else Path("reports") / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    check_diagnostics(out)
    loaded = [read_run(folder, label) for folder, label in zip(runs, make_labels(runs, labels), strict=True)]
    settings = Settings(windows=windows, closest=closest / 100, seed=seed, tsne=tsne, action_component=component)
    diagnoses = [
        diagnose(run, run.checkpoint, data, settings, lambda text: click.echo(text, err=True))
        for run in loaded
        if run.checkpoint is not None
    ]
    page, numbers = write_diagnostics(out, loaded, diagnoses, settings)
    click.echo(f"numbers      {numbers}")
    click.echo(f"page         {page}")


if __name__ == "__main__":
    analyze()
