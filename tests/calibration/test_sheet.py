import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from calibration.board import Detector
from calibration.sheet import MARGIN_MM, dots_per_m, draw_sheet, ruler_mm, write_sheet
from d2ppo_core.calibrated import Board
from d2ppo_core.errors import ConfigError, OutputError

BOARD = Board()


@pytest.fixture(scope="module")
def sheet(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_sheet(BOARD, "a4", tmp_path_factory.mktemp("sheet") / "board")


def test_the_pdf_is_one_sheet_of_that_paper(sheet: tuple[Path, Path]) -> None:
    boxes = re.findall(rb"/MediaBox \[ ?([0-9. ]+?) ?\]", sheet[0].read_bytes())
    assert len(boxes) == 1
    size_mm = np.array(boxes[0].split(), float)[2:] / 72.0 * 25.4
    assert size_mm == pytest.approx((297.0, 210.0), abs=0.05)


def test_squares_are_as_large_as_they_should_be(sheet: tuple[Path, Path]) -> None:
    with Image.open(sheet[1]) as picture:
        assert picture.mode == "1"
        dpi = picture.info["dpi"]
        shrunk = picture.width / (picture.width // 4)
        half = np.array(picture.convert("L").resize((picture.width // 4, round(picture.height / shrunk))))
    assert dpi[0] == pytest.approx(dots_per_m(BOARD) * 0.0254, rel=1e-4)
    found = Detector(BOARD).detect(half, "sheet")
    assert len(found.ids) == 40
    long_px = found.pixels[found.ids == 7][0] - found.pixels[found.ids == 0][0]
    assert shrunk * long_px[0] / dpi[0] * 25.4 == pytest.approx(7 * 28.0, abs=0.05)
    assert abs(long_px[1]) < 0.2


def test_the_ruler_is_as_long_as_it_says() -> None:
    dots_mm = dots_per_m(BOARD) / 1000.0
    rows = np.array(draw_sheet(BOARD, "a4"))[round((MARGIN_MM + 6 * 28.0 + 8.02) * dots_mm)]
    black = np.flatnonzero(~rows)
    assert ruler_mm(BOARD) == 200
    assert (black[-1] - black[0]) / dots_mm - 0.15 == pytest.approx(200.0, abs=0.1)  # from the first tick to the last
    assert len(black) == black[-1] - black[0] + 1


@pytest.mark.parametrize(
    ("board", "paper", "reason"),
    [
        (Board(square_m=0.04), "a4", r"9x6 squares of 40 mm are 360 x 240 mm, a4 holds 281 x 176: squares of 29 mm"),
        (BOARD, "letter", "paper: wanted one of a4, a3, a2, a1, got 'letter'"),
    ],
)
def test_a_board_that_the_paper_cannot_hold_is_refused(board: Board, paper: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        draw_sheet(board, paper)


def test_a_file_of_somebody_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "board.pdf").write_text("my notes")
    with pytest.raises(OutputError, match="is no PDF"):
        write_sheet(Board(columns=4, rows=3), "a4", tmp_path / "board")
