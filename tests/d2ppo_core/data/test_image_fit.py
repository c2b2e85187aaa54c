import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2ppo_core.config import DataConfig, PretrainConfig, from_mapping
from d2ppo_core.data.image_fit import SCALE, axis_weights, fit_of
from d2ppo_core.errors import ConfigError, DataError

SIDES = st.integers(1, 200)


def pictures(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (2, 3, height, width, 3), dtype=np.uint8)


@given(size=SIDES, target=SIDES, how=st.sampled_from(["pad", "crop", "resize"]))
@settings(deadline=None)
def test_every_output_pixel_weighs_whole_numbers_of_the_same_sum(size: int, target: int, how: str) -> None:
    weights = axis_weights(size, target, how)
    assert weights.shape == (target, size)
    assert np.array_equal(weights, np.rint(weights)) and weights.min() >= 0
    assert np.array_equal(weights.sum(1), np.full(target, SCALE))


@pytest.mark.parametrize(("how", "side"), [("pad", 88), ("crop", 80), ("resize", 80)])
def test_robomimics_84_pixels_fit_the_encoder_in_every_way(how: str, side: int) -> None:
    fit = fit_of(DataConfig(image_fit=how), (84, 84))
    assert fit.image_hw == (side, side)
    assert fit.apply(pictures(84, 84)).shape == (2, 3, side, side, 3)


def test_padding_repeats_the_border_and_cropping_takes_the_centre() -> None:
    images = pictures(84, 92)
    padded = fit_of(DataConfig(image_fit="pad"), (84, 92)).apply(images)
    assert np.array_equal(padded, np.pad(images, ((0, 0), (0, 0), (2, 2), (2, 2), (0, 0)), mode="edge"))
    cropped = fit_of(DataConfig(image_fit="crop"), (84, 92)).apply(images)
    assert np.array_equal(cropped, images[:, :, 2:82, 2:90])


def test_resizing_averages_areas_to_within_a_level() -> None:
    images = pictures(480, 640)
    fit = fit_of(DataConfig(image_fit="resize", image_size_px=(96, 128)), (480, 640))
    wanted = images.reshape(2, 3, 96, 5, 128, 5, 3).mean(axis=(3, 5))
    small = fit.apply(images)
    assert small.shape == (2, 3, 96, 128, 3) and small.dtype == np.uint8
    assert np.abs(small - wanted).max() < 3.0  # both axes weigh by 51/256 or 52/256 and round to whole levels
    assert np.abs(small - wanted).mean() < 0.6
    flat = np.full((1, 480, 640, 3), 173, dtype=np.uint8)
    assert np.array_equal(fit.apply(flat), np.full((1, 96, 128, 3), 173, dtype=np.uint8))


def test_pictures_that_fit_are_not_touched() -> None:
    images, fit = pictures(96, 96), fit_of(DataConfig(), (96, 96))
    assert not fit.changes and str(fit) == "" and fit.apply(images) is images


def test_a_way_that_cannot_reach_the_size_is_refused_with_the_cure() -> None:
    with pytest.raises(DataError, match=r"480x640 px.*96x96 by data.image_fit=pad; set data.image_fit=resize"):
        fit_of(DataConfig(image_size_px=(96, 96)), (480, 640))
    with pytest.raises(DataError, match="84x84 px.*by data.image_fit=crop"):
        fit_of(DataConfig(image_fit="crop", image_size_px=(96, 96)), (84, 84))
    with pytest.raises(DataError, match=r"wanted pictures of \(84, 84\)"):
        fit_of(DataConfig(), (84, 84)).apply(pictures(96, 96))


@pytest.mark.parametrize("size", [[84, 84], [96], [96, 96, 3], [0, 96], [-8, 8]])
def test_a_size_that_the_encoder_cannot_cut_is_no_configuration(size: list[int]) -> None:
    with pytest.raises(ConfigError, match=r"data.image_size_px: wanted \[height, width\], both multiples of 8"):
        from_mapping(PretrainConfig, {"name": "x", "task": "lift", "data": {"image_size_px": size}})
