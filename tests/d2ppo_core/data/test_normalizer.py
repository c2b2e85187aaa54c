import numpy as np
import pytest

from d2ppo_core.data.normalizer import Normalizer, Range
from d2ppo_core.errors import DataError


def test_the_measured_range_maps_to_minus_one_and_one() -> None:
    values = np.array([[0.0, -4.0], [2.0, 4.0], [1.0, 0.0]])
    measured = Range.measure(values, min_range=0.01)
    np.testing.assert_allclose(measured.normalize(values), [[-1, -1], [1, 1], [0, 0]])


def test_denormalising_undoes_normalising() -> None:
    values = np.random.default_rng(0).normal(3, 10, (100, 5)).astype(np.float32)
    measured = Range.measure(values, min_range=0.01)
    np.testing.assert_allclose(measured.denormalize(measured.normalize(values)), values, rtol=1e-6, atol=1e-5)


def test_a_constant_dimension_maps_to_zero_and_stays_small_nearby() -> None:
    measured = Range.measure(np.full((10, 1), 5.0), min_range=0.02)
    assert measured.normalize([[5.0]])[0, 0] == 0.0
    assert measured.normalize([[5.005]])[0, 0] == pytest.approx(0.5, abs=1e-3)


def test_values_that_are_not_finite_are_refused() -> None:
    with pytest.raises(DataError, match="not finite"):
        Range.measure(np.array([[0.0], [np.nan]]), min_range=0.1)


def test_an_empty_dataset_is_refused() -> None:
    with pytest.raises(DataError, match=r"wanted values \(N, D\) with N >= 1"):
        Range.measure(np.zeros((0, 3)), min_range=0.1)


def test_ranges_survive_the_checkpoint_exactly() -> None:
    rng = np.random.default_rng(1)
    saved = Normalizer(
        state=Range.measure(rng.normal(size=(50, 4)), min_range=0.1),
        action=Range.measure(rng.normal(size=(50, 7)), min_range=0.1),
    )
    loaded = Normalizer.from_mapping(saved.to_mapping())
    for name in ("state", "action"):
        for part in ("center", "half"):
            np.testing.assert_array_equal(getattr(getattr(loaded, name), part), getattr(getattr(saved, name), part))
