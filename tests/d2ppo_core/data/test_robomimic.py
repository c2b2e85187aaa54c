"""robomimic's own tools on our files."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("robomimic.utils.dataset", reason="robomimic is not installed", exc_type=ImportError)
import robomimic.utils.obs_utils as obs_utils
from robomimic.utils.dataset import SequenceDataset

from d2ppo_core.data.episodes import Episode, EpisodeWriter

LENGTHS = (3, 4, 5)
ENV_ARGS = {"env_name": "Lift", "env_version": "1.5.2", "type": 1, "env_kwargs": {"control_freq": 20}}


def numbered(length: int, number: int) -> Episode:
    position = np.arange(length * 3, dtype=np.float64).reshape(length, 3) + 1000 * number
    return Episode(
        actions=np.full((length, 7), 0.5 * number),
        expert_actions=np.full((length, 7), 0.1),
        rewards=np.eye(length)[-1],
        dones=np.eye(length, dtype=np.int64)[-1],
        states=np.zeros((length, 5)),
        observations={"robot0_eef_pos": position, "camera_image": np.full((length, 8, 8, 3), number, np.uint8)},
        next_observations={"robot0_eef_pos": position + 3},
        model_xml="<mujoco/>",
    )


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("robomimic") / "lift.hdf5"
    with EpisodeWriter(path, env_args=ENV_ARGS) as writer:
        for number, length in enumerate(LENGTHS):
            writer.append(numbered(length, number))
        writer.write_filter("train", ["demo_0", "demo_2"])
    return path


def sequences(path: Path, **changes):
    obs_utils.initialize_obs_utils_with_obs_specs({"obs": {"low_dim": ["robot0_eef_pos"], "rgb": ["camera_image"]}})
    settings = {
        "obs_keys": ["robot0_eef_pos", "camera_image"],
        "dataset_keys": ["actions", "rewards", "dones"],
        "seq_length": 2,
        "load_next_obs": False,
        "hdf5_cache_mode": None,
    }
    return SequenceDataset(str(path), **settings | changes)


def test_its_sequences_hold_executed_actions_and_pictures(path: Path) -> None:
    data = sequences(path)
    assert len(data) == sum(LENGTHS)
    item = data[3]  # the first step of demo_1
    np.testing.assert_array_equal(item["actions"], np.full((2, 7), 0.5))
    np.testing.assert_array_equal(item["obs"]["robot0_eef_pos"], [[1000, 1001, 1002], [1003, 1004, 1005]])
    assert item["obs"]["camera_image"].shape[-3:] in ((8, 8, 3), (3, 8, 8))


def test_its_filter_keys_select_our_subsets(path: Path) -> None:
    assert len(sequences(path, filter_by_attribute="train")) == 3 + 5


def test_next_observations_are_found_and_cached(path: Path) -> None:
    data = sequences(path, obs_keys=["robot0_eef_pos"], load_next_obs=True, hdf5_cache_mode="all")
    item = data[0]
    np.testing.assert_array_equal(item["next_obs"]["robot0_eef_pos"][0], [3, 4, 5])


def test_its_info_tool_accepts_the_file(path: Path) -> None:
    command = [sys.executable, "-m", "robomimic.scripts.get_dataset_info", "--dataset", str(path), "--verbose"]
    report = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    for wanted in (
        "total transitions: 12",
        "total trajectories: 3",
        "action max: 1.0",
        "filter key train with 2 demos",
    ):
        assert wanted in report, report
