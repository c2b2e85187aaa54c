"""Arms of an experiment at their own best learning rate: chosen by some seeds of training, shown by others.

What a method does at one rate says little about it (the sign of an effect can turn with the rate), and what the best of
several cells does on the seeds that it was chosen by flatters it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, nan, sqrt

from d2ppo_core.experiments.comparison import Row, welch_interval
from d2ppo_core.experiments.plan import Plan


@dataclass(frozen=True)
class Arm:
    """One arm on one task."""

    name: str
    against: str
    task: str
    chosen: Row
    """The cell of its best rate, with the seeds that it is shown by."""
    picked_apart: bool
    """Whether it was chosen by other seeds than it is shown by."""


def t_interval(rates: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the mean over seeds of training (Student's t); NaN below two of them."""
    from scipy.stats import t as student  # a second to import

    count = len(rates)
    if count < 2:
        return nan, nan
    mean = sum(rates) / count
    deviation = sqrt(sum((rate - mean) ** 2 for rate in rates) / (count - 1))
    half = float(student.ppf(0.975, count - 1)) * deviation / sqrt(count)
    return mean - half, mean + half


def read_arms(plan: Plan, rows: Sequence[Row]) -> tuple[Arm, ...]:
    """Every arm that has a measured cell, at its best rate, in the order of the plan; of equals the first rate."""
    found: list[Arm] = []
    cells = {cell.name: cell for cell in plan.cells}
    for task in dict.fromkeys(row.task for row in rows):
        for name in dict.fromkeys(cell.arm for cell in plan.cells if cell.arm):
            mine = [row for row in rows if row.task == task and cells[row.cell].arm == name and row.records]
            if mine:
                chosen, apart = _best(plan, mine)
                found.append(Arm(name, cells[chosen.cell].against, task, chosen, apart))
    return tuple(found)


def _best(plan: Plan, rows: Sequence[Row]) -> tuple[Row, bool]:
    selecting = [row.only(plan.selection_seeds) for row in rows]
    if any(row.records for row in selecting):
        best = max((row for row in selecting if row.records), key=lambda row: row.mean)
        shown = next(row for row in rows if row.cell == best.cell)
        return shown.only([seed for seed in shown.seeds if seed not in plan.selection_seeds]), True
    return max(rows, key=lambda row: row.mean), False


def best_cells(plan: Plan, rows: Sequence[Row], task: str) -> tuple[str, ...]:
    """Cells at which the arms stand on a task so far: what confirming seeds are worth spending on."""
    return tuple(arm.chosen.cell for arm in read_arms(plan, [row for row in rows if row.task == task]))


_COLUMNS = (
    "task", "arm", "cell of its best rate", "seeds", "success over seeds (95 % t)", "against",
    "difference (95 %, Welch)", "sensitivity", "first layer RMS", "share of time", "of observation", "training s",
)  # fmt: skip


def arms_markdown(plan: Plan, rows: Sequence[Row]) -> list[str]:
    """Lines of the section on arms; none for a plan without any, or before a cell was measured."""
    arms = read_arms(plan, rows)
    if not arms:
        return []
    lines = ["## Arms at their own best rate", ""]
    lines += ["| " + " | ".join(_COLUMNS) + " |", "|" + "---|" * len(_COLUMNS)]
    lines += ["| " + " | ".join(_cells(arm, arms)) + " |" for arm in arms]
    by = ", ".join(map(str, plan.selection_seeds)) or "the same"
    return [
        *lines,
        "",
        f"Rates were chosen by training seeds {by}; a star marks an arm that is shown by the seeds it was chosen by,",
        "which flatters it. Intervals are over seeds of training, those that the arm is shown by.",
        "",
    ]


def _cells(arm: Arm, arms: Sequence[Arm]) -> list[str]:
    row, star = arm.chosen, "" if arm.picked_apart else "*"
    if not row.records:
        return [arm.task, arm.name, row.cell, "0", "not confirmed yet", *[""] * (len(_COLUMNS) - 5)]
    low, high = t_interval(row.rates)
    interval = "" if isnan(low) else f" ({100 * low:.1f} … {100 * high:.1f})"
    figures = [row.validation(name) for name in ("sensitivity", "first_layer_rms", "time_share", "observation_share")]
    return [
        arm.task,
        arm.name + star,
        row.cell,
        str(len(row.records)),
        f"{100 * row.mean:.1f} %{interval}",
        arm.against,
        _difference(arm, arms),
        *("" if isnan(value) else f"{value:.3g}" for value in figures),
        f"{row.cost('pretrain_s'):.0f}",
    ]


def _difference(arm: Arm, arms: Sequence[Arm]) -> str:
    other = next((a.chosen for a in arms if (a.name, a.task) == (arm.against, arm.task)), None)
    if other is None or not other.records:
        return ""
    gap = 100 * (arm.chosen.mean - other.mean)
    low, high = welch_interval(arm.chosen.rates, other.rates)
    return f"{gap:+.1f}" + ("" if isnan(low) else f" ({100 * low:+.1f} … {100 * high:+.1f})")
