"""Scalars of a run: TensorBoard events and a CSV table, both continued seamlessly after a resume."""

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from d2ppo_core.pretrain import diagnostics, first_layer

FILE_NAME = "metrics.csv"
COLUMNS = (
    "step",
    "losses/total",
    "losses/denoising",
    "losses/dispersive",
    "losses/validation",
    "validation/action_error",
    "validation/sensitivity",
    *first_layer.COLUMNS,
    *diagnostics.COLUMNS,
    "optim/lr",
    "optim/gradient_norm",
    "speed/samples_per_s",
)


class MetricsWriter:
    """Writes scalars; rows later than `start_step` from an interrupted run are dropped first."""

    def __init__(self, folder: Path, start_step: int, columns: Sequence[str] = COLUMNS) -> None:
        """Continue after `start_step`; the first of `columns` counts steps."""
        from torch.utils.tensorboard.writer import SummaryWriter

        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=start_step + 1)
        self.path, self._columns = folder / FILE_NAME, tuple(columns)
        kept = self._rows_until(start_step)
        temporary = self.path.with_suffix(".tmp")
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self._columns)
            writer.writeheader()
            writer.writerows(kept)
        os.replace(temporary, self.path)
        self._file = self.path.open("a", newline="", encoding="utf-8")
        self._csv = csv.DictWriter(self._file, self._columns)

    def _rows_until(self, step: int) -> list[dict[str, str]]:
        if not self.path.is_file():
            return []
        with self.path.open(newline="", encoding="utf-8") as file:
            index = self._columns[0]
            rows = [row for row in csv.DictReader(file) if row[index].isdigit() and int(row[index]) <= step]
        return [{name: value for name, value in row.items() if name in self._columns} for row in rows]

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Append one row; names must be among the columns."""
        self._csv.writerow({self._columns[0]: step, **{name: f"{value:.6g}" for name, value in scalars.items()}})
        self._file.flush()
        for name, value in scalars.items():
            self._board.add_scalar(name, value, step)

    def __enter__(self) -> "MetricsWriter":
        """Return the writer, which is open already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close both files; what was written stays, also after an error."""
        self._file.close()
        self._board.close()
