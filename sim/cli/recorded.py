"""`d2ppo data …` for recorded episodes: folders that a recorder filled."""

from __future__ import annotations

from pathlib import Path

import click

FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.argument("folder", type=FOLDER)
def salvage(folder: Path) -> None:
    """Complete the episodes of FOLDER that were cut off.

    No recorder may be writing into FOLDER meanwhile.
    """
    from d2ppo_core.runtime.recording.saved import save_all

    saved = save_all(folder)
    for name, what in saved.items():
        click.echo(f"{name}: {what}")
    if not saved:
        click.echo(f"{folder}: nothing was cut off")
