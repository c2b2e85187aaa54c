"""`d2ppo export`: turn a training run into a bundle that robots can run."""

from pathlib import Path

import click
import yaml

from d2ppo_core.errors import ConfigError


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder of the bundle; replaced if it exists."
)
@click.option(
    "--data", type=click.Path(path_type=Path), help="Dataset for the golden example and half of the parity samples."
)
@click.option("--samples", type=click.IntRange(min=1), default=200, show_default=True, help="Parity samples.")
@click.option("--note", type=click.Path(path_type=Path), help="YAML mapping that joins the manifest's provenance.")
def export(run: Path, out: Path, data: Path | None, samples: int, note: Path | None) -> None:
    """Export the averaged policy of RUN; refuses when the graph deviates from the torch sampler."""
    from d2ppo_core.export.onnx import export_run  # imports torch

    extra = None
    if note is not None:
        if not note.is_file():
            raise ConfigError(f"{note}: no such file")
        extra = yaml.safe_load(note.read_text())
        if not isinstance(extra, dict):
            raise ConfigError(f"{note}: wanted a mapping, got {extra!r}")
    done = export_run(run, out, data=data, samples=samples, extra=extra)
    click.echo(
        f"{done.folder}: bundle {done.bundle_hash}, graph {done.size_bytes / 2**20:.1f} MiB, parity "
        f"{done.parity.max_deviation:.1e} over {done.parity.samples} samples"
    )


if __name__ == "__main__":
    export()
