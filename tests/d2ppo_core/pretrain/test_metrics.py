import csv
from pathlib import Path

import pytest

from d2ppo_core.pretrain.metrics import MetricsWriter


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_rows_are_readable_while_the_run_goes_on(tmp_path: Path) -> None:
    with MetricsWriter(tmp_path, 0) as metrics:
        metrics.write(5, {"losses/total": 0.25})
        assert [(row["step"], row["losses/total"]) for row in rows(tmp_path)] == [("5", "0.25")]
    assert list((tmp_path / "tensorboard").glob("events.*"))


def test_resuming_drops_what_was_written_after_the_checkpoint(tmp_path: Path) -> None:
    with MetricsWriter(tmp_path, 0) as metrics:
        for step in (1, 2, 3):
            metrics.write(step, {"losses/total": float(step)})
    with MetricsWriter(tmp_path, 2) as metrics:
        metrics.write(3, {"losses/total": 30.0})
    assert [row["losses/total"] for row in rows(tmp_path)] == ["1", "2", "30"]


def test_names_outside_of_the_table_are_refused(tmp_path: Path) -> None:
    with MetricsWriter(tmp_path, 0) as metrics, pytest.raises(ValueError, match="losses/unknown"):
        metrics.write(1, {"losses/unknown": 1.0})
