"""Tables of an experiment: Markdown for people, CSV for programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from math import isnan

from d2ppo_core.experiments.arms import arms_markdown
from d2ppo_core.experiments.comparison import Row, difference, reference_of
from d2ppo_core.experiments.plan import Plan
from d2ppo_core.experiments.settings import FIRST_SEED, Settings

VALIDATION = (
    "noise_loss", "action_error", "sensitivity", "first_layer_rms", "time_share", "observation_share",
)  # fmt: skip
_MARKDOWN = (
    "task", "cell", "seeds", "solved", "success (95 % Wilson)", "mean ± sd of seeds (range)",
    "against {reference}: episodes", "Fisher p", "against {reference}: seeds",
    "demonstrations", "held-out ε", "action error", "sensitivity",
    "first layer RMS", "share of time", "of observation", "steps", "training s", "env steps", "commit", "data",
)  # fmt: skip
_CSV = (
    "task", "cell", "status", "seeds", "successes", "episodes", "success", "wilson_low", "wilson_high", "seed_mean",
    "seed_sd", "seed_min", "seed_max", "difference", "difference_low", "difference_high", "fisher_p",
    "seeds_low", "seeds_high", "demonstrations", *VALIDATION, "steps", "pretrain_s", "finetune_s", "env_steps",
    "commit", "dataset_sha256", "command",
)  # fmt: skip
NOT_RUN = "not run"


def markdown(plan: Plan, settings: Settings, rows: Sequence[Row]) -> str:
    """The page `results.md`."""
    seeds = sorted({seed for row in rows for seed in row.seeds})
    lines = [f"# {plan.name}", "", plan.question, ""]
    lines += [f"Measured: {plan.measures}; {settings.episodes} episodes per run in batched worlds, averaged weights,"]
    lines += [f"episode seeds from {FIRST_SEED}, training seeds {', '.join(map(str, seeds))}.", ""]
    tasks = sorted({row.task for row in rows if row.records}, key=plan.tasks.index)
    command = settings.command(tasks=tasks or plan.tasks, seeds=seeds)
    lines += [f"Command: `{command}`", ""]
    header = [name.format(reference=plan.reference) for name in _MARKDOWN]
    lines += ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(_cells(row, plan, rows)) + " |" for row in rows]
    lines += ["", *arms_markdown(plan, rows)]
    lines += [
        "Solved episodes are pooled over seeds; their intervals (Wilson; Newcombe and Fisher for differences) are",
        "those of just these policies. Whether a cell is better when trained again is what the interval over seeds",
        "tells (95 %, Welch, of the means). Held-out noise loss, action error, sensitivity and first layer are means",
        "over seeds of the clone's last validation. Seconds are wall time on the machine that ran it, as loaded as it",
        "was.",
    ]
    if tasks:
        training_s, measuring_s = (sum(times) for times in zip(*(row.total_s() for row in rows), strict=True))
        lines += [f"Everything together: {training_s:.0f} s of training, {measuring_s:.0f} s of measuring."]
    commands = missing_commands(settings, rows) if not plan.selection_seeds else selection_commands(plan, settings)
    if commands and any(row.missing for row in rows):
        lines += ["", f"{NOT_RUN.capitalize()} yet, and the commands that do it:", ""]
        lines += [f"- {task}: `{text}`" for task, text in commands]
    return "\n".join(lines) + "\n"


def _cells(row: Row, plan: Plan, rows: Sequence[Row]) -> list[str]:
    count = f"{len(row.records)} of {len(row.seeds)}" if row.missing else str(len(row.seeds))
    if not row.records:
        return [row.task, row.cell, count, NOT_RUN, *[""] * (len(_MARKDOWN) - 4)]
    low, high = row.interval
    spread = "" if isnan(row.deviation) else f" ± {100 * row.deviation:.1f}"
    reference = reference_of(row, plan, rows)
    against, p_value, over_seeds = "", "", ""
    if reference is not None:
        found = difference(row, reference)
        against = f"{100 * found.value:+.1f} ({100 * found.low:+.1f} … {100 * found.high:+.1f})"
        p_value = f"{found.p_value:.2g}"
        if not isnan(found.seeds_low):
            over_seeds = f"{100 * found.seeds_low:+.1f} … {100 * found.seeds_high:+.1f}"
    elif row.cell == plan.reference:
        against = "reference"
    return [
        row.task,
        row.cell,
        count,
        f"{row.successes}/{row.episodes}",
        f"{100 * row.successes / row.episodes:.1f} % ({100 * low:.1f} … {100 * high:.1f})",
        f"{100 * row.mean:.1f}{spread} % ({100 * min(row.rates):.1f} … {100 * max(row.rates):.1f})",
        against,
        p_value,
        over_seeds,
        "" if isnan(row.demonstrations) else f"{row.demonstrations:g}",
        *("" if isnan(value := row.validation(name)) else f"{value:.3g}" for name in VALIDATION),
        f"{row.cost('steps'):.0f}",
        f"{row.cost('pretrain_s') + row.cost('finetune_s'):.0f}",
        f"{row.cost('env_steps'):.0f}",
        ", ".join(_short(commit) for commit in row.distinct("commit")),
        ", ".join(_short(hashed) for hashed in row.distinct("dataset")),
    ]


def _short(text: str) -> str:
    """Of a commit or a hash; a commit's `+changes` stays."""
    head, plus, tail = text.partition("+")
    return head[:8] + plus + tail


def missing_commands(settings: Settings, rows: Sequence[Row]) -> list[tuple[str, str]]:
    """(task, command) for what was not run, together where cells lack the same seeds."""
    groups: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for row in rows:
        if row.missing:
            groups.setdefault((row.task, row.missing), []).append(row.cell)
    return [(task, settings.command(tasks=[task], cells=cells, seeds=seeds)) for (task, seeds), cells in groups.items()]


def selection_commands(plan: Plan, settings: Settings) -> list[tuple[str, str]]:
    """(task, command) that choose the rates of the arms, then those that confirm what was chosen."""
    return [
        (task, settings.command(tasks=[task], seeds=seeds) + chosen)
        for task in plan.tasks
        for seeds, chosen in ((plan.selection_seeds, ""), (plan.seeds, " --best-rates"))
    ]


def table_csv(plan: Plan, settings: Settings, rows: Sequence[Row]) -> str:
    """The file `results.csv`; figures without rounding, empty where there are none."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _CSV, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(_figures(row, plan, settings, rows))
    return text.getvalue()


def _figures(row: Row, plan: Plan, settings: Settings, rows: Sequence[Row]) -> dict[str, object]:
    status = NOT_RUN if not row.records else "partly run" if row.missing else "run"
    command = settings.command(tasks=[row.task], cells=[row.cell], seeds=row.seeds)
    found: dict[str, object] = {"task": row.task, "cell": row.cell, "status": status, "command": command}
    found["seeds"] = " ".join(str(seed) for seed in row.seeds if seed in row.records)
    if not row.records:
        return found
    low, high = row.interval
    found |= {
        "successes": row.successes,
        "episodes": row.episodes,
        "success": row.successes / row.episodes,
        "wilson_low": low,
        "wilson_high": high,
        "seed_mean": row.mean,
        "seed_sd": "" if isnan(row.deviation) else row.deviation,
        "seed_min": min(row.rates),
        "seed_max": max(row.rates),
        "commit": " ".join(row.distinct("commit")),
        "dataset_sha256": " ".join(row.distinct("dataset")),
    }
    found["demonstrations"] = "" if isnan(row.demonstrations) else row.demonstrations
    found |= {name: "" if isnan(value := row.validation(name)) else value for name in VALIDATION}
    found |= {name: row.cost(name) for name in ("steps", "pretrain_s", "finetune_s", "env_steps")}
    reference = reference_of(row, plan, rows)
    if reference is not None:
        gap = difference(row, reference)
        found |= {"difference": gap.value, "difference_low": gap.low, "difference_high": gap.high}
        found["fisher_p"] = gap.p_value
        if not isnan(gap.seeds_low):
            found |= {"seeds_low": gap.seeds_low, "seeds_high": gap.seeds_high}
    return found
