"""`d2ppo pretrain`: clone demonstrations into a diffusion policy."""

from pathlib import Path

import click

from d2ppo_core.config import load_config


@click.command()
@click.argument("config")
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Dataset in robomimic's HDF5 layout.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the run.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override, e.g. optim.lr=1e-4.")
@click.option("--resume", is_flag=True, help="Continue the run in --out from its checkpoint, exactly.")
def pretrain(config: str, data: Path, out: Path, overrides: tuple[str, ...], resume: bool) -> None:
    """Train the policy described by CONFIG (a shipped name such as lift_image, or a YAML file)."""
    from d2ppo_core.pretrain import trainer  # imports torch

    outcome = trainer.pretrain(load_config(config, overrides), data, out, resume=resume)
    if outcome.finished:
        click.echo(f"{out}: finished at step {outcome.step} after {outcome.elapsed_s:.0f} s; next: d2ppo export {out}")
    else:
        click.echo(f"{out}: stopped and saved at step {outcome.step}; continue with --resume")


if __name__ == "__main__":
    pretrain()
