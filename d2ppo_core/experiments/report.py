"""Write the results of an experiment's folder: `results.md`, `results.csv` and `results.png`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from d2ppo_core.errors import ConfigError
from d2ppo_core.experiments.comparison import read_rows
from d2ppo_core.experiments.plan import Plan
from d2ppo_core.experiments.plots import draw
from d2ppo_core.experiments.settings import RESULTS, Settings
from d2ppo_core.experiments.table import markdown, table_csv


def write_results(plan: Plan, settings: Settings, seeds: Sequence[int]) -> Path:
    """Make table and picture anew from the run folders, all tasks of the plan; returns the page.

    Raises:
        DataError: a record or a curve cannot be read.
        ConfigError: the folder cannot be written.
    """
    rows = read_rows(plan, settings, plan.tasks, seeds)
    out = Path(settings.out)
    page, table, picture = (out / name for name in RESULTS)
    try:
        out.mkdir(parents=True, exist_ok=True)
        page.write_text(markdown(plan, settings, rows), encoding="utf-8")
        table.write_text(table_csv(plan, settings, rows), encoding="utf-8")
        draw(plan, settings, rows).savefig(picture, dpi=110, metadata={"Software": None})
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written: {error.strerror}") from error
    return page
