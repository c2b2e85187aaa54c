"""Scalars that a training run logged, whatever their names: a CSV table with one row per logged step."""

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from d2ppo_core.errors import DataError

FILE_NAME = "metrics.csv"
STEP_COLUMNS = ("step", "iteration", "update", "epoch", "env_steps")
"""Names of the column that counts; the first one that a table has is taken, else its rows are counted."""

Float = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Curves:
    """Columns of numbers over steps."""

    step_name: str
    steps: Float
    """(T,)."""
    columns: Mapping[str, Float]
    """Name -> (T,), NaN where a row has no entry; columns without any number are left out."""

    def groups(self) -> dict[str, tuple[str, ...]]:
        """Names of the columns by what stands before their first slash (`other` without one), in the file's order."""
        found: dict[str, tuple[str, ...]] = {}
        for name in self.columns:
            prefix = name.partition("/")[0] if "/" in name else "other"
            found[prefix] = (*found.get(prefix, ()), name)
        return found

    def last(self, name: str) -> float:
        """The last number of a column; NaN where it has none or is not there."""
        values = self.columns.get(name, np.empty(0))
        present = values[np.isfinite(values)]
        return float(present[-1]) if len(present) else math.nan


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def read_curves(path: Path) -> Curves:
    """Read a table. Raises DataError when it is no text or has no header."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows, names = list(reader), list(reader.fieldnames or [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a readable table ({error})") from error
    if not names:
        raise DataError(f"{path}: wanted a table with a header, got an empty file")
    numbers = {name: np.array([_number(row[name]) for row in rows]) for name in names}
    step_name = next((name for name in STEP_COLUMNS if name in names), "row")
    steps = numbers.pop(step_name, np.arange(1.0, len(rows) + 1))
    known = np.isfinite(steps)
    return Curves(
        step_name=step_name,
        steps=steps[known],
        columns={name: values[known] for name, values in numbers.items() if np.isfinite(values[known]).any()},
    )
