"""Pictures of an experiment: success of every cell with its interval, or success against control steps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from d2ppo_core.experiments.comparison import Row
from d2ppo_core.experiments.plan import Plan
from d2ppo_core.experiments.records import load_curve
from d2ppo_core.experiments.settings import Settings

_WIDTH_IN = 4.5
"""Of one task's panel."""


def draw(plan: Plan, settings: Settings, rows: Sequence[Row]) -> Figure:
    """One panel per task that has measured runs. Raises DataError when the curve of a run cannot be read."""
    tasks = sorted({row.task for row in rows if row.records}, key=plan.tasks.index)
    height_in = 4.0 if plan.tunes else 1.6 + 0.28 * len(plan.cells)
    figure = Figure(figsize=(_WIDTH_IN * max(1, len(tasks)), height_in), layout="constrained")
    if not tasks:
        figure.text(0.5, 0.5, "not run", ha="center")
        return figure
    for axis, task in zip(figure.subplots(1, len(tasks), squeeze=False).flat, tasks, strict=True):
        mine = [row for row in rows if row.task == task]
        (_curves if plan.tunes else _intervals)(axis, plan, settings, mine)
        axis.set_title(task)
        axis.grid(alpha=0.25)
    return figure


def _intervals(axis: Any, plan: Plan, settings: Settings, rows: Sequence[Row]) -> None:
    """Pooled success with Wilson intervals; a dot for every seed."""
    for place, row in enumerate(rows):
        if not row.records:
            axis.text(0.5, place, "not run", ha="center", va="center", color="#9a9a9a", fontsize=8)
            continue
        rate, (low, high) = row.successes / row.episodes, row.interval
        colour = "#c2703d" if row.cell == plan.reference else "#3b6ea5"
        axis.errorbar(rate, place, xerr=[[rate - low], [high - rate]], fmt="s", color=colour, capsize=3)
        axis.plot(row.rates, [place] * len(row.rates), ".", color=colour, alpha=0.4)
    axis.set_yticks(range(len(rows)), [row.cell for row in rows], fontsize=8)
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.set_xlim(-0.02, 1.02)
    axis.set_xlabel("success, 95 % Wilson; dots: seeds", fontsize=9)


def _curves(axis: Any, plan: Plan, settings: Settings, rows: Sequence[Row]) -> None:
    """Mean over seeds, and the range of them, against control steps."""
    for index, row in enumerate(rows):
        folders = {run.seed: run.folder(Path(settings.out)) for run in plan.runs([row.task], row.seeds, [row.cell])}
        curves = [load_curve(folders[seed] / "tuned") for seed in row.records]
        curves = [(steps, success) for steps, success in curves if len(steps)]
        if not curves:
            continue
        grid = np.unique(np.concatenate([steps for steps, _ in curves]))
        grid = grid[grid <= min(steps[-1] for steps, _ in curves)]
        values = np.array([np.interp(grid, steps, success) for steps, success in curves])
        axis.plot(grid / 1e6, values.mean(0), label=row.cell, color=f"C{index}")
        axis.fill_between(grid / 1e6, values.min(0), values.max(0), alpha=0.15, color=f"C{index}")
    axis.set_xlabel("million control steps", fontsize=9)
    axis.set_ylabel("success; band: range of seeds", fontsize=9)
    axis.set_ylim(-0.02, 1.02)
    if axis.lines:
        axis.legend(fontsize=8)
