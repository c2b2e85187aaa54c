"""`d2ppo data` as a user calls it."""

import subprocess
import sys

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from d2ppo_core.data.episodes import Episode, EpisodeReader, EpisodeWriter
from d2ppo_core.errors import DataError
from sim.cli.data import data


@pytest.fixture
def path(tmp_path):
    """Two demonstrations of Can with pictures."""
    path = tmp_path / "can.hdf5"
    with EpisodeWriter(path, env_args={"env_name": "PickPlaceCan", "env_version": "1.5.2"}) as writer:
        for length in (5, 7):
            writer.append(
                Episode(
                    actions=np.zeros((length, 7)),
                    rewards=np.eye(length)[-1],
                    dones=np.eye(length, dtype=np.int64)[-1],
                    states=np.zeros((length, 3)),
                    observations={
                        "robot0_eef_pos": np.zeros((length, 3)),
                        "object": np.zeros((length, 14)),
                        "robot0_eye_in_hand_image": np.full((length, 16, 16, 3), 99, np.uint8),
                    },
                )
            )
    return path


def test_info_names_task_lengths_and_observations(path):
    result = CliRunner().invoke(data, ["info", str(path)])
    assert result.exit_code == 0
    for wanted in ("can (PickPlaceCan", "2, 2 end solved", "12; per demonstration 5 … 7", "uint8 (16, 16, 3), 99 … 99"):
        assert wanted in result.output


def test_convert_writes_a_lerobot_folder_and_says_what_is_in_it(path, tmp_path):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed (pip install 'd2ppo-panda[lerobot]')")
    result = CliRunner().invoke(data, ["convert", str(path), "--to", "lerobot", "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.exception
    assert "2 episodes, 12 frames, videos of observation.images.robot0_eye_in_hand" in result.output
    assert (tmp_path / "out/meta/info.json").is_file()


def test_convert_says_what_is_left_out(path, tmp_path):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed (pip install 'd2ppo-panda[lerobot]')")
    with h5py.File(path, "a") as file:
        for demo in file["data"].values():
            demo["obs/words"] = np.array([b"put"] * len(demo["actions"]))
    result = CliRunner().invoke(data, ["convert", str(path), "--to", "lerobot", "--out", str(tmp_path / "out")])
    assert result.stdout.splitlines()[-1] == "left out: words (words)", result.exception


def test_info_says_that_robomimics_default_misses_the_next_pictures(path):
    assert "robomimic wants train.hdf5_load_next_obs=false, or" in CliRunner().invoke(data, ["info", str(path)]).output
    with h5py.File(path, "a") as file:
        for demo in file["data"].values():
            demo["next_obs/robot0_eye_in_hand_image"] = demo["obs/robot0_eye_in_hand_image"][()]
    assert "robomimic wants" not in CliRunner().invoke(data, ["info", str(path)]).output


def test_convert_rewrites_robomimic_files(path, tmp_path):
    result = CliRunner().invoke(data, ["convert", str(path), "--to", "robomimic", "--out", str(tmp_path / "new.hdf5")])
    assert result.exit_code == 0 and "2 demonstrations" in result.output
    with EpisodeReader(tmp_path / "new.hdf5", env_name="PickPlaceCan") as reader:
        assert len(reader) == 2


def test_a_file_cut_short_is_one_line_and_exit_code_2(path):
    path.write_bytes(path.read_bytes()[:-4000])
    command = [sys.executable, "-m", "d2ppo_core.cli.main", "data", "info", str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, len(result.stderr.splitlines())) == (2, 1)
    assert f"d2ppo: {path} is not a readable HDF5 file: truncated" in result.stderr


def test_without_pyarrow_the_error_says_what_to_install(path, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    result = CliRunner().invoke(data, ["convert", str(path), "--to", "lerobot", "--out", str(tmp_path / "out")])
    assert isinstance(result.exception, DataError)
    assert "pip install 'd2ppo-panda[lerobot]'" in str(result.exception)
