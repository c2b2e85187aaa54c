"""The public RoboMimic sets in their layouts, as tiny files: what is there is read, what is missing is named."""

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from d2ppo_core.config import DataConfig
from d2ppo_core.data.episodes import EpisodeReader
from d2ppo_core.data.windows import load_windows
from d2ppo_core.errors import DataError

LENGTHS = (7, 5, 6, 8, 4)
SIZES = {"object": 10, "robot0_eef_pos": 3, "robot0_eef_quat": 4, "robot0_gripper_qpos": 2, "robot0_joint_pos": 7}
SUBSETS = {"train": (0, 1, 3, 4), "valid": (2,), "20_percent": (3,), "20_percent_train": (3,), "better": (0, 4)}


def write_demo(group: h5py.Group, length: int, number: int) -> None:
    """What every version has."""
    group["actions"] = np.full((length, 7), 0.1 * number)
    group["states"] = np.zeros((length, 32))
    group.attrs["num_samples"] = np.int64(length)


def add_observations(group: h5py.Group, length: int, folders: tuple[str, ...]) -> None:
    group["rewards"] = np.eye(length)[-1]
    group["dones"] = np.eye(length, dtype=np.int64)[-1]
    for folder in folders:
        for key, size in SIZES.items():
            group[f"{folder}/{key}"] = np.tile(np.arange(length, dtype=np.float64)[:, None], size)


def write_file(path: Path, version: str, decorate: Callable[[h5py.Group, int, int], None]) -> Path:
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["total"] = sum(LENGTHS)
        data.attrs["env_args"] = json.dumps({"env_name": "Lift", "env_version": version, "type": 1, "env_kwargs": {}})
        for number, length in enumerate(LENGTHS):
            demo = data.create_group(f"demo_{number}")
            write_demo(demo, length, number)
            decorate(demo, length, number)
        for name, members in SUBSETS.items():
            file[f"mask/{name}"] = np.array([f"demo_{i}" for i in members], dtype="S8")
    return path


@pytest.fixture
def low_dim_v14(tmp_path: Path) -> Path:
    """robosuite 1.4: model as a byte string, both observation groups."""

    def decorate(demo: h5py.Group, length: int, number: int) -> None:
        add_observations(demo, length, ("obs", "next_obs"))
        demo.attrs["model_file"] = np.bytes_(f"<mujoco model='{number}'/>")

    return write_file(tmp_path / "low_dim_v141.hdf5", "1.4.1", decorate)


@pytest.fixture
def image_v15(tmp_path: Path) -> Path:
    """robosuite 1.5: absolute actions beside, scene description, images, no next_obs, no model."""

    def decorate(demo: h5py.Group, length: int, number: int) -> None:
        add_observations(demo, length, ("obs",))
        demo["obs/robot0_eye_in_hand_image"] = np.full((length, 84, 84, 3), number, np.uint8)
        demo["actions_abs"] = np.zeros((length, 7))
        demo["action_dict/rel_pos"] = np.zeros((length, 3))
        demo.attrs["ep_meta"] = json.dumps({"lang": "lift the cube"})

    return write_file(tmp_path / "image_v15.hdf5", "1.5.1", decorate)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """What was recorded: states and actions, nothing else."""
    return write_file(tmp_path / "demo_v141.hdf5", "1.4.1", lambda demo, length, number: None)


def test_a_low_dim_set_of_v14_reads_as_it_is(low_dim_v14: Path) -> None:
    with EpisodeReader(low_dim_v14, env_name="Lift") as reader:
        assert len(reader) == 5
        episode = reader.read("demo_3", next_observations=True)
    assert episode.model_xml == "<mujoco model='3'/>"
    assert episode.next_observations["object"].shape == (8, 10)
    np.testing.assert_array_equal(episode.labels, np.full((8, 7), 0.1 * 3))


def test_an_image_set_of_v15_trains_as_it_is(image_v15: Path) -> None:
    config = DataConfig(
        low_dim_keys=("robot0_eef_pos", "robot0_gripper_qpos"),
        image_keys=("robot0_eye_in_hand_image",),
        filter_key="train",
        validation_filter_key="valid",
    )
    windows, validation = load_windows(image_v15, config, env_name="Lift")
    assert windows.images is not None and windows.images.shape == (24, 1, 88, 88, 3)
    assert windows.camera_hw == (84, 84), "the pictures are padded to what the encoder can cut, and their size is known"
    assert validation is not None and (len(validation), validation.images[0, 0, 0, 0, 0]) == (6, 2)


def test_what_v15_adds_is_kept_as_provenance_and_the_missing_model_is_empty(image_v15: Path) -> None:
    with EpisodeReader(image_v15) as reader:
        episode = reader.read("demo_0", keys=[])
    assert (episode.model_xml, json.loads(episode.attributes["ep_meta"])["lang"]) == ("", "lift the cube")


@pytest.mark.parametrize(("key", "lengths"), [("train", [7, 5, 8, 4]), ("20_percent", [8]), ("better", [7, 4])])
def test_filter_keys_select_their_demonstrations_in_order(low_dim_v14: Path, key: str, lengths: list[int]) -> None:
    with EpisodeReader(low_dim_v14, filter_key=key) as reader:
        assert [len(episode) for episode in reader.episodes(keys=[])] == lengths


def test_an_unknown_filter_key_is_refused_with_the_known_ones(low_dim_v14: Path) -> None:
    with pytest.raises(DataError, match="no subset '50_percent'; its filter keys are 20_percent, 20_percent_train"):
        EpisodeReader(low_dim_v14, filter_key="50_percent")


def test_a_subset_that_names_a_lost_demonstration_is_refused(low_dim_v14: Path) -> None:
    with h5py.File(low_dim_v14, "a") as file:
        del file["data/demo_2"]
    with pytest.raises(DataError, match="subset 'valid' names demo_2, which the file lacks"):
        EpisodeReader(low_dim_v14, filter_key="valid")


def test_a_raw_set_plays_back_but_says_how_to_get_observations(raw: Path) -> None:
    with EpisodeReader(raw) as reader:
        assert len(reader.read("demo_1", keys=[])) == 5
        with pytest.raises(DataError, match=r"has no 'obs', only actions, states; compute .* dataset_states_to_obs"):
            reader.read("demo_1", keys=["object"])


def test_missing_next_observations_are_named(image_v15: Path) -> None:
    with EpisodeReader(image_v15) as reader, pytest.raises(DataError, match="has no 'next_obs'"):
        reader.read("demo_0", next_observations=True)
