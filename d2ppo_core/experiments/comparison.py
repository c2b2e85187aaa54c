"""The figures of one cell on one task, over its seeds, and how they differ from the reference cell's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np

from d2ppo_core.analysis.statistics import two_proportions, wilson_interval
from d2ppo_core.experiments.plan import Plan
from d2ppo_core.experiments.records import load_record
from d2ppo_core.experiments.settings import Settings


@dataclass(frozen=True)
class Row:
    """One cell on one task."""

    task: str
    cell: str
    seeds: tuple[int, ...]
    """Wanted."""
    records: Mapping[int, dict[str, Any]]
    """By seed, of the runs that were measured."""

    def only(self, seeds: Sequence[int]) -> Row:
        """The same for some of its seeds."""
        chosen = tuple(seed for seed in self.seeds if seed in seeds)
        return Row(self.task, self.cell, chosen, {seed: r for seed, r in self.records.items() if seed in chosen})

    @property
    def missing(self) -> tuple[int, ...]:
        """Seeds without a measured run."""
        return tuple(seed for seed in self.seeds if seed not in self.records)

    @cached_property
    def rates(self) -> tuple[float, ...]:
        """Success rate of every measured seed."""
        return tuple(
            record["evaluation"]["successes"] / len(record["evaluation"]["seeds"]) for record in self._measured
        )

    @property
    def successes(self) -> int:
        """Solved episodes of all seeds."""
        return sum(record["evaluation"]["successes"] for record in self._measured)

    @property
    def episodes(self) -> int:
        """Of all seeds."""
        return sum(len(record["evaluation"]["seeds"]) for record in self._measured)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the episodes of all seeds together."""
        return wilson_interval(self.successes, self.episodes)

    @property
    def mean(self) -> float:
        """Of the seeds' success rates."""
        return float(np.mean(self.rates))

    @property
    def deviation(self) -> float:
        """Standard deviation of the seeds' success rates; NaN below two seeds."""
        return float(np.std(self.rates, ddof=1)) if len(self.rates) > 1 else float("nan")

    def cost(self, name: str) -> float:
        """Mean over the seeds of `pretrain_s`, `finetune_s`, `env_steps` or `steps`."""
        return float(np.mean([record[name] for record in self._measured]))

    @property
    def demonstrations(self) -> float:
        """Episodes that were trained on, mean over the seeds; NaN where the records do not tell."""
        found = [record["dataset"].get("num_episodes", float("nan")) for record in self._measured]
        return float(np.mean(found))

    def validation(self, name: str) -> float:
        """Mean over the seeds of the clone's `noise_loss`, `action_error` or `sensitivity`; NaN where none has it."""
        found = [record["validation"][name] for record in self._measured if name in record.get("validation", {})]
        return float(np.mean(found)) if found else float("nan")

    def total_s(self) -> tuple[float, float]:
        """Wall time of training and of measuring, all seeds together."""
        training = sum(record["pretrain_s"] + record["finetune_s"] for record in self._measured)
        return training, sum(record["evaluation"]["wall_s"] for record in self._measured)

    def distinct(self, name: str) -> tuple[str, ...]:
        """The commits (`commit`) or hashes of the dataset (`dataset`) behind the runs."""
        found = {str(record[name]["sha256"] if name == "dataset" else record[name]) for record in self._measured}
        return tuple(sorted(found))

    @property
    def _measured(self) -> list[dict[str, Any]]:
        return [self.records[seed] for seed in self.seeds if seed in self.records]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Of two success rates."""

    value: float
    low: float
    high: float
    p_value: float
    """Fisher's exact test."""
    seeds_low: float
    seeds_high: float
    """95 % interval of the difference of the seeds' means (Welch); NaN below two seeds or without any spread."""


def difference(row: Row, reference: Row) -> Difference:
    """Success of a row minus that of the reference, over the seeds that both have.

    The interval of the episodes is Newcombe's, from both Wilson intervals: it covers these policies' episodes, not how
    much another training seed would change them; that is what the interval over seeds is for.

    Raises:
        ValueError: no seed was measured in both.
    """
    common = [seed for seed in row.seeds if seed in row.records and seed in reference.records]
    if not common:
        raise ValueError("wanted a seed that both rows have, got none")
    parts = [Row(each.task, each.cell, tuple(common), each.records) for each in (row, reference)]
    (first, trials), (second, others) = ((part.successes, part.episodes) for part in parts)
    rate, other = first / trials, second / others
    (low, high), (other_low, other_high) = wilson_interval(first, trials), wilson_interval(second, others)
    value = rate - other
    seeds_low, seeds_high = welch_interval(parts[0].rates, parts[1].rates)
    return Difference(
        value=value,
        low=value - sqrt((rate - low) ** 2 + (other_high - other) ** 2),
        high=value + sqrt((high - rate) ** 2 + (other - other_low) ** 2),
        p_value=two_proportions(first, trials, second, others),
        seeds_low=seeds_low,
        seeds_high=seeds_high,
    )


def welch_interval(rates: Sequence[float], others: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the difference of two means over seeds; NaN below two seeds or without any spread."""
    from scipy.stats import ttest_ind  # a second to import

    if min(len(rates), len(others)) < 2 or np.ptp(rates) + np.ptp(others) == 0:
        return float("nan"), float("nan")
    found = ttest_ind(rates, others, equal_var=False).confidence_interval()
    return float(found.low), float(found.high)


def read_rows(plan: Plan, settings: Settings, tasks: Sequence[str], seeds: Sequence[int]) -> tuple[Row, ...]:
    """Every cell of the plan on every task, measured or not. Raises DataError when a record cannot be read.

    Runs that were measured in another number of episodes count as not measured.
    """
    found: dict[tuple[str, str], dict[int, dict[str, Any]]] = {}
    for run in plan.runs(tasks, seeds):
        record = load_record(run.folder(Path(settings.out)))
        held = found.setdefault((run.task, run.cell.name), {})
        if record is not None and len(record["evaluation"]["seeds"]) == settings.episodes:
            held[run.seed] = record
    return tuple(Row(task, cell.name, tuple(seeds), found[task, cell.name]) for task in tasks for cell in plan.cells)


def reference_of(row: Row, plan: Plan, rows: Sequence[Row]) -> Row | None:
    """The row that this one is compared to; None for that row itself, and where no seed was measured in both."""
    for other in rows:
        if (other.task, other.cell) == (row.task, plan.reference) and other is not row:
            return other if set(other.records) & set(row.records) else None
    return None
