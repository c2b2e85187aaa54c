"""Files of demonstrations written anew and summed up."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from d2ppo_core.data.episodes import EpisodeReader, EpisodeWriter
from d2ppo_core.data.rewrite import rewrite
from d2ppo_core.data.summary import summarize
from d2ppo_core.errors import DataError


@pytest.fixture
def early(dataset: Path, tmp_path: Path) -> Path:
    """A file of ours from before `actions` meant what the controller got, with a subset."""
    path = tmp_path / "early.hdf5"
    path.write_bytes(dataset.read_bytes())
    with h5py.File(path, "a") as file:
        for demo in file["data"].values():
            demo["executed_actions"] = demo["actions"][()] * 0.5
        file["mask/train"] = np.array(["demo_0", "demo_5"], "S")
    return path


def test_a_rewritten_file_plays_back_and_keeps_labels_and_subsets(early: Path, tmp_path: Path) -> None:
    assert rewrite(early, tmp_path / "new.hdf5") == 6
    with EpisodeReader(early) as old, EpisodeReader(tmp_path / "new.hdf5") as new:
        assert new.filters == {"train": ("demo_0", "demo_5")} and new.env_args == old.env_args
        for one, other in zip(old.episodes(), new.episodes(), strict=True):
            np.testing.assert_array_equal(other.actions, one.labels * 0.5)
            np.testing.assert_array_equal(other.labels, one.labels)
    with h5py.File(tmp_path / "new.hdf5") as file:
        assert {"actions", "expert_actions"} <= set(file["data/demo_0"])
        assert "executed_actions" not in file["data/demo_0"]


def test_nothing_is_overwritten(early: Path) -> None:
    with pytest.raises(DataError, match="exists already"):
        rewrite(early, early)


def test_a_subset_of_the_same_name_is_replaced(dataset: Path, tmp_path: Path) -> None:
    rewrite(dataset, tmp_path / "a.hdf5")
    with EpisodeReader(dataset) as reader:
        env_args = reader.env_args
    with EpisodeWriter(tmp_path / "a.hdf5", env_args=env_args) as writer:
        writer.write_filter("valid", ["demo_1"])
        writer.write_filter("valid", ["demo_2", "demo_3"])
    with EpisodeReader(tmp_path / "a.hdf5") as reader:
        assert reader.filters == {"valid": ("demo_2", "demo_3")}


def test_the_summary_tells_what_a_file_holds(early: Path) -> None:
    text = summarize(early)
    for wanted in ("lift (Lift", "demonstrations 6, 0 end solved", "60; per demonstration 8 … 12", "expert_actions",
                   "robot0_eye_in_hand_image  uint8 (24, 24, 3)", "train: 2 demonstrations"):  # fmt: skip
        assert wanted in text, text


def test_the_summary_of_a_raw_file_says_how_to_get_observations(dataset: Path, tmp_path: Path) -> None:
    path = tmp_path / "raw.hdf5"
    path.write_bytes(dataset.read_bytes())
    with h5py.File(path, "a") as file:
        for demo in file["data"].values():
            del demo["obs"], demo["rewards"], demo["dones"]
    assert "none (raw file)" in summarize(path)
