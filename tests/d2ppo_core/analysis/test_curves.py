import math
from pathlib import Path

import numpy as np
import pytest

from d2ppo_core.analysis.curves import read_curves
from d2ppo_core.errors import DataError

TABLE = """iteration,success/rate,losses/policy,losses/value,note,empty/column
1,0.5,-0.1,2.0,start,
2,,-0.2,1.0,,
3,0.75,-0.3,,,
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "metrics.csv"
    path.write_text(TABLE)
    return path


def test_columns_are_found_whatever_they_are_called(table: Path) -> None:
    curves = read_curves(table)
    assert curves.step_name == "iteration"
    np.testing.assert_array_equal(curves.steps, [1, 2, 3])
    assert curves.groups() == {"success": ("success/rate",), "losses": ("losses/policy", "losses/value")}
    np.testing.assert_array_equal(curves.columns["success/rate"], [0.5, math.nan, 0.75])


def test_the_last_number_of_a_column_is_the_last_one_that_was_logged(table: Path) -> None:
    curves = read_curves(table)
    assert curves.last("losses/value") == 1.0
    assert math.isnan(curves.last("losses/none"))


def test_without_a_column_that_counts_the_rows_are_counted(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("loss\n3\n2\n")
    curves = read_curves(tmp_path / "m.csv")
    assert (curves.step_name, curves.groups()) == ("row", {"other": ("loss",)})
    np.testing.assert_array_equal(curves.steps, [1, 2])


def test_a_row_cut_short_by_a_crash_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("step,a,b\n1,2,3\n2,4")
    curves = read_curves(tmp_path / "m.csv")
    np.testing.assert_array_equal(curves.columns["a"], [2, 4])
    np.testing.assert_array_equal(curves.columns["b"], [3, math.nan])


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00step"])
def test_what_is_no_table_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"m\.csv"):
        read_curves(tmp_path / "m.csv")
