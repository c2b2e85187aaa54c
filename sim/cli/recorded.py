"""`d2ppo data …` for recorded episodes: folders that a recorder filled."""

from __future__ import annotations

from pathlib import Path

import click

from d2ppo_core.runtime.recording.episode import Edited, Outcome, append_edit, cut_off, finished

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


@click.command()
@click.argument("folder", type=FOLDER)
def ls(folder: Path) -> None:
    """List the episodes of FOLDER, as they count after all verdicts."""
    episodes = finished(folder)
    for one in episodes:
        click.echo(_line(one))
    for left in cut_off(folder):
        click.echo(f"{left.name}  being recorded, or cut off")
    counts = [f"{sum(one.outcome == word for one in episodes)} {word}" for word in Outcome]
    click.echo(f"{folder}: {len(episodes)} episodes, {', '.join(counts)}")


@click.command()
@click.argument("folder", type=FOLDER)
@click.argument("episode")
@click.argument("verdict", type=click.Choice([str(word) for word in Outcome]))
def judge(folder: Path, episode: str, verdict: str) -> None:
    """Say how an EPISODE of FOLDER came out, whatever was said before.

    The verdict is appended to edits.jsonl; the episode's own files stay as they are.
    """
    append_edit(folder, episode, outcome=verdict)
    click.echo(f"{episode}: {verdict}")


def _line(one: Edited) -> str:
    facts = one.facts
    parts = [
        f"{one.name}  {one.outcome:<9}  {facts.duration_s:6.1f} s",
        facts.bundle_name or "no policy",
        facts.stop_cause,
    ]
    if facts.lost:
        parts.append(f"{sum(facts.lost.values())} messages lost")
    return "  ".join(parts)
