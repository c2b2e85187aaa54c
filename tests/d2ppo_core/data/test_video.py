"""Films, decoded again."""

from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from d2ppo_core.data.video import VideoWriter
from d2ppo_core.errors import DataError


def test_pictures_come_back_in_order(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "film.mp4"
    with VideoWriter(path, width=32, height=16, fps=20) as film:
        for value in (20, 120, 220):
            film.append(np.full((16, 32, 3), value, np.uint8))
    pictures = iio.imread(path)
    assert pictures.shape == (3, 16, 32, 3)
    np.testing.assert_allclose(pictures.mean(axis=(1, 2, 3)), [20, 120, 220], atol=4)
    assert iio.immeta(path)["fps"] == 20


def test_odd_sides_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="even sides, got 33x16"):
        VideoWriter(tmp_path / "film.mp4", width=33, height=16, fps=20)


def test_a_picture_of_another_size_is_refused(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "film.mp4", width=32, height=16, fps=20) as film:
        with pytest.raises(DataError, match=r"wanted pictures uint8 \(16, 32, 3\), got float64 \(16, 32, 3\)"):
            film.append(np.zeros((16, 32, 3)))
        film.append(np.zeros((16, 32, 3), np.uint8))
