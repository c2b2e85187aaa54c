"""What came of evaluations: rows of a table, and the same for a file."""

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from d2ppo_core.analysis.statistics import paired_proportions, two_proportions, wilson_interval
from d2ppo_core.envs.episodes import Episodes
from d2ppo_core.errors import ConfigError
from d2ppo_core.evaluation.samplers import Variant

COLUMNS = ("task", "where", "weights", "sampling", "K", "success", "95 % Wilson", "median steps", "seconds")
_LAYOUT = "{:<10}{:<13}{:<9}{:<15}{:>3}  {:>15}  {:>15}  {:>12}  {:>8}"
HEADER = _LAYOUT.format(*COLUMNS)
"""Above the rows; the same wherever a policy is measured."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """One policy in one kind of worlds."""

    task: str
    where: str
    """`batched`, `robosuite` or `stack`."""
    variant: Variant
    episodes: Episodes
    wall_s: float

    @property
    def successes(self) -> int:
        """Number of solved episodes."""
        return int(self.episodes.success.sum())

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the success rate."""
        return wilson_interval(self.successes, len(self.episodes.seeds))

    @property
    def median_steps(self) -> float:
        """Control steps to success, median of the solved episodes; NaN without any."""
        solved = self.episodes.steps[self.episodes.success]
        return float(np.median(solved)) if len(solved) else float("nan")

    def cells(self) -> tuple[str, ...]:
        """What stands under `COLUMNS`."""
        count, variant = len(self.episodes.seeds), self.variant
        low, high = (100 * limit for limit in self.interval)
        return (
            self.task,
            self.where,
            variant.weights,
            variant.sampling,
            f"{variant.num_denoising_steps}",
            f"{self.successes}/{count} {100 * self.successes / count:5.1f} %",
            f"{low:.1f} … {high:.1f} %",
            "–" if np.isnan(self.median_steps) else f"{self.median_steps:.0f}",
            f"{self.wall_s:.1f}",
        )

    def line(self) -> str:
        """Row of the table under `HEADER`."""
        return _LAYOUT.format(*self.cells())

    def stages_line(self) -> str:
        """How many episodes got how far, in words; empty for a task without stages."""
        return ", ".join(f"{name.replace('_', ' ')} {seen.sum()}" for name, seen in self.episodes.stages.items())

    def to_json(self) -> dict[str, Any]:
        """The row and every episode of it."""
        return {
            "task": self.task,
            "where": self.where,
            "weights": self.variant.weights,
            "sampling": self.variant.sampling,
            "num_denoising_steps": self.variant.num_denoising_steps,
            "successes": self.successes,
            "success_rate": self.episodes.success_rate,
            "wilson_95": list(self.interval),
            "median_steps_to_success": None if np.isnan(self.median_steps) else self.median_steps,
            "wall_s": round(self.wall_s, 2),
            "seeds": list(self.episodes.seeds),
            "success": self.episodes.success.tolist(),
            "steps": self.episodes.steps.tolist(),
            "stages": {name: seen.tolist() for name, seen in self.episodes.stages.items()},
        }


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The same policy and the same seeds in two kinds of worlds."""

    first: Result
    second: Result

    def __post_init__(self) -> None:
        """Raise ValueError when the two were not measured on the same seeds."""
        if self.first.episodes.seeds != self.second.episodes.seeds:
            raise ValueError("wanted results of the same seeds")

    @property
    def only_first(self) -> int:
        """Episodes solved in the first kind of worlds alone."""
        return int((self.first.episodes.success & ~self.second.episodes.success).sum())

    @property
    def only_second(self) -> int:
        """Episodes solved in the second kind of worlds alone."""
        return int((self.second.episodes.success & ~self.first.episodes.success).sum())

    @property
    def equal_steps(self) -> int:
        """Episodes that ended in the same way after the same number of control steps."""
        first, second = self.first.episodes, self.second.episodes
        return int(((first.success == second.success) & (first.steps == second.steps)).sum())

    @property
    def p_value(self) -> float:
        """Fisher's test of the two success rates."""
        count = len(self.first.episodes.seeds)
        return two_proportions(self.first.successes, count, self.second.successes, count)

    @property
    def p_value_paired(self) -> float:
        """McNemar's test of the same."""
        return paired_proportions(self.only_first, self.only_second)

    def line(self) -> str:
        """As a person reads it."""
        first, second, variant = self.first, self.second, self.first.variant
        count = len(first.episodes.seeds)
        return (
            f"{variant.weights} {variant.sampling} K = {variant.num_denoising_steps}: {first.where} {first.successes}, "
            f"{second.where} {second.successes} of {count}, p = {self.p_value:.2g} (Fisher); the same episodes: "
            f"{self.only_first} solved in {first.where} only, {self.only_second} in {second.where} only, "
            f"p = {self.p_value_paired:.2g} (McNemar), {self.equal_steps} equal to the step"
        )

    def to_json(self) -> dict[str, Any]:
        """The figures of `line`."""
        variant = self.first.variant
        return {
            "weights": variant.weights,
            "sampling": variant.sampling,
            "num_denoising_steps": variant.num_denoising_steps,
            "worlds": [self.first.where, self.second.where],
            "successes": [self.first.successes, self.second.successes],
            "p_fisher": self.p_value,
            "solved_in_one_only": [self.only_first, self.only_second],
            "p_mcnemar": self.p_value_paired,
            "equal_steps": self.equal_steps,
        }


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write JSON by replacing the file. Raises ConfigError, in one line, when it cannot be written."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error
