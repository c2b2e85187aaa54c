import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from d2ppo_core.analysis.samples import Sample, draw_sample
from d2ppo_core.config import PretrainConfig
from d2ppo_core.data.episodes import EpisodeWriter
from d2ppo_core.data.windows import load_windows
from d2ppo_core.errors import DataError
from d2ppo_core.pretrain.checkpoint import Checkpoint, load_checkpoint
from d2ppo_core.pretrain.run import pretrain


def with_tails(saved: Checkpoint, tails: str) -> Checkpoint:
    data = dataclasses.replace(saved.config.data, tails=tails)
    return dataclasses.replace(saved, config=dataclasses.replace(saved.config, data=data))


@pytest.mark.parametrize("tails", ["hold", "drop"])
def test_a_whole_sample_is_what_the_run_trained_on(saved: Checkpoint, dataset: Path, tails: str) -> None:
    saved = with_tails(saved, tails)
    windows, _ = load_windows(dataset, saved.config.data)
    sample = draw_sample(dataset, saved, size=1000, seed=0)
    assert sample.available == len(sample) == len(windows)
    np.testing.assert_array_equal(sample.state, saved.normalizer.state.normalize(windows.state))
    np.testing.assert_array_equal(sample.chunks, saved.normalizer.action.normalize(windows.chunks))


def test_windows_know_their_episode_and_their_place_in_it(sample: Sample) -> None:
    lengths = (9, 12, 10, 11, 8)  # the sixth episode is held out
    assert np.bincount(sample.episode).tolist() == list(lengths)
    assert sample.progress[:9].tolist() == [i / 8 for i in range(9)]


def test_a_smaller_sample_is_drawn_by_its_seed_from_the_whole_one(
    saved: Checkpoint, sample: Sample, dataset: Path
) -> None:
    few = draw_sample(dataset, saved, size=20, seed=3)
    assert len(few) == 20 and few.available == 50
    np.testing.assert_array_equal(few.state, draw_sample(dataset, saved, size=20, seed=3).state)
    assert not np.array_equal(few.state, draw_sample(dataset, saved, size=20, seed=4).state)
    rows = {(int(e), float(p)): s for e, p, s in zip(sample.episode, sample.progress, sample.state, strict=True)}
    for episode, progress, state in zip(few.episode, few.progress, few.state, strict=True):
        np.testing.assert_array_equal(state, rows[int(episode), float(progress)])


def test_pictures_count_as_much_as_the_state_when_observations_are_compared(
    dataset: Path, tiny_config: Callable[..., PretrainConfig], tmp_path: Path
) -> None:
    pretrain(tiny_config(images=True, optim={"steps": 1}), dataset, tmp_path, progress=False)
    sample = draw_sample(dataset, load_checkpoint(tmp_path), size=30, seed=0)
    assert sample.images is not None and sample.images.shape == (30, 1, 24, 24, 3)
    observation = sample.observation()
    assert observation.shape == (30, 9 + 8 * 8 * 3)
    variance = observation.var(0)
    assert variance[9:].sum() == pytest.approx(variance[:9].sum())


def test_a_dataset_of_another_task_or_layout_is_refused(saved: Checkpoint, dataset: Path, tmp_path: Path) -> None:
    with EpisodeWriter(tmp_path / "can.hdf5", env_args={"env_name": "PickPlaceCan"}):
        pass
    with pytest.raises(DataError, match="must hold Lift demonstrations, got PickPlaceCan"):
        draw_sample(tmp_path / "can.hdf5", saved, size=10, seed=0)
    other = dataclasses.replace(saved, shapes=dataclasses.replace(saved.shapes, state_dim=23))
    with pytest.raises(DataError, match=r"\(23, 7, \(0, 0, 0\)\), got \(19, 7, \(0, 0, 0\)\)"):
        draw_sample(dataset, other, size=10, seed=0)
