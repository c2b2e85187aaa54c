"""robomimic's HDF5 layout: what is written is read back, and what is damaged is refused with the reason."""

import json
import subprocess
import sys

import h5py
import numpy as np
import pytest

from d2ppo_core.data.episodes import Episode, EpisodeReader, EpisodeWriter
from d2ppo_core.errors import DataError

ENV_ARGS = {"env_name": "Lift", "env_version": "1.5.2", "type": 1, "env_kwargs": {"control_freq": 20}}


def make_episode(steps: int, value: int = 0, **changes) -> Episode:
    """An episode whose numbers say where they come from."""
    image = np.full((steps, 8, 8, 3), value, np.uint8)
    position = np.arange(steps * 3, dtype=np.float64).reshape(steps, 3) + 1000 * value
    fields = {
        "actions": np.full((steps, 7), value, np.float64),
        "expert_actions": np.full((steps, 7), value + 0.5),
        "rewards": np.linspace(0, 1, steps),
        "dones": np.zeros(steps, np.int64),
        "states": np.full((steps, 5), value, np.float64),
        "observations": {"robot0_eef_pos": position, "robot0_eye_in_hand_image": image},
        "next_observations": {"robot0_eef_pos": position + 3},
        "model_xml": "<mujoco/>",
        "attributes": {"attempt": value, "seed": 7 + value},
    }
    return Episode(**{**fields, **changes})


@pytest.fixture
def path(tmp_path):
    """A file of three demonstrations of 3, 4 and 5 steps."""
    path = tmp_path / "lift.hdf5"
    with EpisodeWriter(path, env_args=ENV_ARGS) as writer:
        for k in range(3):
            writer.append(make_episode(3 + k, k))
    return path


def test_an_episode_comes_back_as_it_was_written(path):
    wanted = make_episode(4, 1)
    with EpisodeReader(path, env_name="Lift") as reader:
        got = reader.read("demo_1", next_observations=True)
    for key in ("actions", "expert_actions", "rewards", "dones", "states"):
        np.testing.assert_array_equal(getattr(got, key), getattr(wanted, key))
    for folder in ("observations", "next_observations"):
        assert getattr(got, folder).keys() == getattr(wanted, folder).keys()
        for key, values in getattr(wanted, folder).items():
            np.testing.assert_array_equal(getattr(got, folder)[key], values)
            assert getattr(got, folder)[key].dtype == values.dtype
    assert (got.model_xml, dict(got.attributes)) == (wanted.model_xml, wanted.attributes)


def test_the_layout_is_robomimics(path):
    with h5py.File(path) as file:
        assert file["data"].attrs["total"] == 3 + 4 + 5
        assert json.loads(file["data"].attrs["env_args"]) == ENV_ARGS
        assert file["data/demo_2"].attrs["num_samples"] == 5
        assert {"actions", "states", "rewards", "dones", "obs", "next_obs"} <= set(file["data/demo_2"])
        assert file["data/demo_2/obs/robot0_eye_in_hand_image"].compression == "gzip"


def test_demonstrations_are_ordered_by_number_not_by_letters(tmp_path):
    with EpisodeWriter(tmp_path / "many.hdf5", env_args=ENV_ARGS) as writer:
        for k in range(11):
            writer.append(make_episode(2, k))
    with EpisodeReader(tmp_path / "many.hdf5") as reader:
        assert [episode.attributes["attempt"] for episode in reader.episodes(keys=[])] == list(range(11))


def test_a_file_is_readable_after_each_demonstration_though_never_closed(tmp_path):
    path = tmp_path / "open.hdf5"
    writer = EpisodeWriter(path, env_args=ENV_ARGS)
    writer.append(make_episode(3))
    copy = tmp_path / "copy.hdf5"
    copy.write_bytes(path.read_bytes())
    with EpisodeReader(copy) as reader:
        assert len(reader.read("demo_0")) == 3
    writer.close()


def test_a_writer_continues_a_file_and_knows_the_last_attempt(path):
    with EpisodeWriter(path, env_args=ENV_ARGS) as writer:
        assert len(writer) == 3
        assert writer.last_attributes == {"attempt": 2, "seed": 9}
        assert writer.append(make_episode(6, 3)) == "demo_3"
    with h5py.File(path) as file:
        assert file["data"].attrs["total"] == 3 + 4 + 5 + 6


def test_a_half_written_demonstration_is_refused_by_the_reader_and_dropped_by_the_writer(path):
    with h5py.File(path, "a") as file:
        del file["data/demo_2"].attrs["num_samples"]
    with EpisodeReader(path) as reader, pytest.raises(DataError, match="demo_2 is unfinished"):
        reader.read("demo_2")
    with EpisodeWriter(path, env_args=ENV_ARGS) as writer:
        assert len(writer) == 2
    with h5py.File(path) as file:
        assert file["data"].attrs["total"] == 3 + 4


def test_a_file_with_other_settings_is_not_continued(path):
    with pytest.raises(DataError, match="another env_args: env_name 'Lift' not 'PickPlaceCan'"):
        EpisodeWriter(path, env_args={**ENV_ARGS, "env_name": "PickPlaceCan"})


def test_files_that_kept_the_intention_under_actions_read_the_same(path):
    with h5py.File(path, "a") as file:
        demo = file["data/demo_1"]
        meant, done = demo["expert_actions"][()], demo["actions"][()]
        del demo["expert_actions"], demo["actions"]
        demo["actions"], demo["executed_actions"] = meant, done
    with EpisodeReader(path) as reader:
        episode = reader.read("demo_1")
    np.testing.assert_array_equal(episode.actions, np.full((4, 7), 1.0))
    np.testing.assert_array_equal(episode.labels, np.full((4, 7), 1.5))


RECORD_UNTIL_FULL = """
import resource, sys
from pathlib import Path
import numpy as np
from d2ppo_core.data.episodes import Episode, EpisodeWriter
from d2ppo_core.errors import DataError

resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20, 4 << 20))
noise = np.random.default_rng(0).integers(0, 256, (20, 64, 64, 3), dtype=np.uint8)
zeros = np.zeros((20, 7))
episode = Episode(actions=zeros, rewards=zeros[:, 0], dones=zeros[:, 0], states=zeros, observations={"image": noise})
with EpisodeWriter(Path(sys.argv[1]), env_args={"env_name": "Lift"}) as writer:
    try:
        while True:
            writer.append(episode)
    except DataError as error:
        print(len(writer), error)
"""


def test_a_full_disk_is_reported_and_costs_no_demonstration(tmp_path):
    path = tmp_path / "full.hdf5"
    command = [sys.executable, "-c", RECORD_UNTIL_FULL, str(path)]
    report = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    written = int(report.split()[0])
    assert 10 <= written <= 16
    assert f"cannot write demo_{written}, which wants up to 0.5 MiB (File too large); the {written} demonst" in report
    with EpisodeReader(path) as reader:
        assert [len(episode) for episode in reader.episodes()] == [20] * written
    with EpisodeWriter(path, env_args={"env_name": "Lift"}) as writer:  # room again
        assert writer.append(make_episode(3)) == f"demo_{written}"


def test_reserved_room_is_given_back(path):
    size = path.stat().st_size
    with EpisodeWriter(path, env_args=ENV_ARGS) as writer:
        writer.append(make_episode(3, 3))
        assert path.stat().st_size - size < 2**18


def test_another_task_is_refused(path):
    with pytest.raises(DataError, match="must hold NutAssemblySquare demonstrations, got Lift"):
        EpisodeReader(path, env_name="NutAssemblySquare")


def test_a_missing_file_is_refused_with_the_command_that_makes_it(tmp_path):
    with pytest.raises(DataError, match="d2ppo demos lift --out"):
        EpisodeReader(tmp_path / "nothing.hdf5")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_file_is_refused(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match="truncated"):
        EpisodeReader(path)


def test_a_damaged_picture_is_refused(path):
    with h5py.File(path) as file:
        chunk = file["data/demo_1/obs/robot0_eye_in_hand_image"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset : chunk.byte_offset + chunk.size] = bytes(chunk.size)
    path.write_bytes(content)
    with EpisodeReader(path) as reader, pytest.raises(DataError, match="robot0_eye_in_hand_image, the file is damaged"):
        reader.read("demo_1")


def test_a_missing_observation_is_named_beside_those_that_are_there(path):
    with EpisodeReader(path) as reader, pytest.raises(DataError, match="no 'object', only robot0_eef_pos"):
        reader.read("demo_0", keys=["object"])


def test_a_file_without_env_args_is_refused(path):
    with h5py.File(path, "a") as file:
        del file["data"].attrs["env_args"]
    with pytest.raises(DataError, match="env_args"):
        EpisodeReader(path)


def test_an_hdf5_file_of_another_kind_is_refused(tmp_path):
    with h5py.File(tmp_path / "other.hdf5", "w") as file:
        file["weights"] = np.zeros(3)
    with pytest.raises(DataError, match="has no 'data', only weights"):
        EpisodeReader(tmp_path / "other.hdf5")


def test_arrays_of_different_length_are_refused_before_anything_is_written():
    with pytest.raises(DataError, match="rewards must have 4 steps like the actions, got 3"):
        make_episode(4, rewards=np.zeros(3))
