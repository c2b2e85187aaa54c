"""A board as a sheet to print: PDF and PNG, true to scale, with a ruler by which the print is checked."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from calibration.board import cv_board
from d2ppo_core.calibrated import Board
from d2ppo_core.errors import ConfigError
from d2ppo_core.output import writing_file

PAPERS_MM = {"a4": (297.0, 210.0), "a3": (420.0, 297.0), "a2": (594.0, 420.0), "a1": (841.0, 594.0)}
"""Landscape: width and height."""
MARGIN_MM = 8.0
RULER_MM = 18.0
"""Height of the strip below the board that holds the ruler and the text."""
_DPI = 600.0
_INCH_M = 0.0254


def dots_per_m(board: Board) -> float:
    """Return a resolution near 600 dpi at which a square is a whole number of dots."""
    return round(board.square_m / _INCH_M * _DPI) / board.square_m


def draw_sheet(board: Board, paper: str) -> Image.Image:
    """Return the whole sheet in black and white, at `dots_per_m`.

    Raises:
        ConfigError: the paper is unknown, or the board is larger.
    """
    if paper not in PAPERS_MM:
        raise ConfigError(f"paper: wanted one of {', '.join(PAPERS_MM)}, got {paper!r}")
    width_mm, height_mm = PAPERS_MM[paper]
    board_mm = np.array((board.columns, board.rows)) * board.square_m * 1000.0
    room_mm = np.array((width_mm - 2 * MARGIN_MM, height_mm - 2 * MARGIN_MM - RULER_MM))
    if (board_mm > room_mm).any():
        most = 1000.0 * board.square_m * float((room_mm / board_mm).min())
        raise ConfigError(
            f"{board.columns}x{board.rows} squares of {1000 * board.square_m:g} mm are {board_mm[0]:g} x "
            f"{board_mm[1]:g} mm, {paper} holds {room_mm[0]:g} x {room_mm[1]:g}: squares of {int(most * 2) / 2:g} mm"
        )
    dots_mm = dots_per_m(board) / 1000.0
    sheet = Image.new("L", (round(width_mm * dots_mm), round(height_mm * dots_mm)), 255)
    square = round(board.square_m * 1000.0 * dots_mm)
    picture = cv_board(board).generateImage((square * board.columns, square * board.rows), marginSize=0, borderBits=1)
    left = (sheet.width - picture.shape[1]) // 2
    top = round(MARGIN_MM * dots_mm)
    sheet.paste(Image.fromarray(np.asarray(picture, np.uint8)), (left, top))
    _draw_ruler(sheet, board, left, top + picture.shape[0], dots_mm)
    return sheet.point(lambda value: 255 if value > 127 else 0).convert("1", dither=Image.Dither.NONE)


def ruler_mm(board: Board) -> int:
    """Return the ruler's length: as many centimetres as the board is long, 20 at most."""
    return min(200, int(board.columns * board.square_m * 100.0) * 10)


def _draw_ruler(sheet: Image.Image, board: Board, left: int, below: int, dots_mm: float) -> None:
    draw, long_mm = ImageDraw.Draw(sheet), ruler_mm(board)
    base, thin = below + round(8.0 * dots_mm), max(1, round(0.15 * dots_mm))
    small, large = (
        cast(ImageFont.FreeTypeFont, ImageFont.load_default(size)) for size in (2.6 * dots_mm, 3.2 * dots_mm)
    )
    draw.rectangle((left, base, left + round(long_mm * dots_mm), base + thin), fill=0)
    for mm in range(long_mm + 1):
        x, high = left + round(mm * dots_mm), 4.0 if mm % 10 == 0 else 2.8 if mm % 5 == 0 else 1.8
        draw.rectangle((x, base - round(high * dots_mm), x + thin - 1, base), fill=0)
        if mm % 10 == 0:
            draw.text((x + 2 * thin, base - round(6.4 * dots_mm)), str(mm), font=small, fill=0)
    text = (
        f"ChArUco {board.columns}x{board.rows}, squares {1000 * board.square_m:g} mm, markers {board.marker_share:g} "
        f"of it, {board.dictionary}. Print at 100 %; this ruler must be {long_mm} mm long. Measure the squares too."
    )
    draw.text((left, base + round(1.5 * dots_mm)), text, font=large, fill=0)


def write_sheet(board: Board, paper: str, out: Path) -> tuple[Path, Path]:
    """Write `out`.pdf and `out`.png.

    Raises:
        ConfigError: as `draw_sheet`.
        OutputError: they cannot be written.
    """
    sheet, dpi = draw_sheet(board, paper), dots_per_m(board) * _INCH_M
    pdf, png = out.with_name(out.name + ".pdf"), out.with_name(out.name + ".png")
    with writing_file(pdf, "PDF", lambda path: path.open("rb").read(4) == b"%PDF") as unfinished:
        sheet.save(unfinished, resolution=dpi)
    with writing_file(png, "picture", lambda path: cv2.haveImageReader(str(path))) as unfinished:
        sheet.save(unfinished, dpi=(dpi, dpi))
    return pdf, png
