"""The export to LeRobot v3.0, read back through the tables and videos themselves."""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed (pip install 'd2ppo-panda[lerobot]')")

import imageio.v3 as iio
import pyarrow.parquet as parquet

from d2ppo_core.data.episodes import Episode, EpisodeReader, EpisodeWriter
from d2ppo_core.data.lerobot import DATA_PATH, EPISODES_PATH, VIDEO_PATH, export_lerobot
from d2ppo_core.errors import DataError

CAMERA = "observation.images.robot0_eye_in_hand"
LENGTHS = (9, 12, 10, 11, 8, 10)


@pytest.fixture(scope="module")
def exported(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("lerobot") / "lift"
    seen: list[tuple[int, int]] = []
    summary = export_lerobot(dataset, out, on_episode=lambda done, total: seen.append((done, total)))
    assert (summary.episodes, summary.frames, summary.cameras) == (6, 60, (CAMERA,))
    assert seen[-1] == (6, 6)
    return out


def read_info(out: Path) -> dict:
    return json.loads((out / "meta/info.json").read_text())


def test_the_description_names_every_column_with_type_and_shape(exported: Path) -> None:
    info = read_info(exported)
    assert (info["codebase_version"], info["fps"], info["total_episodes"], info["total_frames"]) == ("v3.0", 20, 6, 60)
    assert info["splits"] == {"train": "0:6"}
    table = parquet.read_table(exported / DATA_PATH.format(chunk_index=0, file_index=0))
    videos = {key for key, feature in info["features"].items() if feature["dtype"] == "video"}
    assert set(table.column_names) == set(info["features"]) - videos and videos == {CAMERA}
    assert info["features"]["observation.state"]["names"][:4] == [*(f"robot0_eef_pos_{i}" for i in range(3)),
                                                                  "robot0_eef_quat_0"]  # fmt: skip
    assert info["features"]["action"]["names"][-1] == "robot0_gripper"
    assert info["features"][CAMERA]["shape"] == [24, 24, 3]


def test_rows_hold_the_recorded_numbers(exported: Path, dataset: Path) -> None:
    table = parquet.read_table(exported / DATA_PATH.format(chunk_index=0, file_index=0)).to_pydict()
    with EpisodeReader(dataset) as reader:
        episode = reader.read("demo_1")
    rows = slice(9, 21)
    np.testing.assert_allclose(table["action"][rows], episode.actions, rtol=1e-6)
    np.testing.assert_allclose(table["observation.environment_state"][rows], episode.observations["object"], rtol=1e-6)
    state = np.concatenate([episode.observations[f"robot0_{k}"] for k in ("eef_pos", "eef_quat", "gripper_qpos")], 1)
    np.testing.assert_allclose(table["observation.state"][rows], state, rtol=1e-5, atol=1e-7)
    assert table["episode_index"][rows] == [1] * 12 and table["index"] == list(range(60))
    np.testing.assert_allclose(table["timestamp"][rows], np.arange(12) / 20)
    assert [i for i, done in enumerate(table["next.done"]) if done] == list(np.cumsum(LENGTHS) - 1)


def test_each_episode_finds_its_rows_and_its_film(exported: Path, dataset: Path) -> None:
    rows = parquet.read_table(exported / EPISODES_PATH).to_pylist()
    assert [row["length"] for row in rows] == list(LENGTHS)
    assert [row["dataset_to_index"] for row in rows] == list(np.cumsum(LENGTHS))
    film = iio.imread(exported / VIDEO_PATH.format(video_key=CAMERA, chunk_index=0, file_index=0))
    assert len(film) == 60
    with EpisodeReader(dataset) as reader:
        for name, row in zip(reader.names, rows, strict=True):
            first = round(row[f"videos/{CAMERA}/from_timestamp"] * 20)
            assert round(row[f"videos/{CAMERA}/to_timestamp"] * 20) - first == row["length"]
            pictures = reader.read(name).observations["robot0_eye_in_hand_image"].astype(float)
            brightness = film[first : first + row["length"]].astype(float).mean()
            assert brightness == pytest.approx(pictures.mean(), abs=4)


def test_statistics_are_those_of_all_frames(exported: Path) -> None:
    stats = json.loads((exported / "meta/stats.json").read_text())
    actions = np.array(
        parquet.read_table(exported / DATA_PATH.format(chunk_index=0, file_index=0))["action"].to_pylist()
    )
    for name in ("min", "max", "mean", "std"):
        np.testing.assert_allclose(stats["action"][name], getattr(actions, name)(axis=0), rtol=1e-5, atol=1e-6)
    assert stats["action"]["count"] == [60]
    assert np.shape(stats[CAMERA]["mean"]) == (3, 1, 1) and 0 < stats[CAMERA]["mean"][0][0][0] < 1


def test_the_task_is_found_by_its_words(exported: Path) -> None:
    tasks = pytest.importorskip("pandas").read_parquet(exported / "meta/tasks.parquet")
    assert tasks.loc["Lift the cube.", "task_index"] == 0


def disturbed(length: int) -> Episode:
    return Episode(
        actions=np.full((length, 7), 0.75),
        expert_actions=np.full((length, 7), 0.25),
        rewards=np.zeros(length),
        dones=np.zeros(length, np.int64),
        states=np.zeros((length, 2)),
        observations={"robot0_eef_pos": np.zeros((length, 3))},
    )


@pytest.mark.parametrize(("target", "value"), [("expert", 0.25), ("executed", 0.75)])
def test_actions_are_what_was_meant_or_what_was_done_by_choice(tmp_path: Path, target: str, value: float) -> None:
    with EpisodeWriter(tmp_path / "a.hdf5", env_args={"env_name": "Toast"}) as writer:
        writer.append(disturbed(3))
    export_lerobot(tmp_path / "a.hdf5", tmp_path / "out", action_target=target, instruction="Toast it.")
    table = parquet.read_table(tmp_path / "out" / DATA_PATH.format(chunk_index=0, file_index=0))
    np.testing.assert_allclose(table["action"].to_pylist(), np.full((3, 7), value))
    assert read_info(tmp_path / "out")["video_path"] is None


def test_an_existing_folder_is_left_alone(dataset: Path, exported: Path) -> None:
    with pytest.raises(DataError, match="exists already"):
        export_lerobot(dataset, exported)


def test_a_file_without_observations_of_a_robot_is_refused_and_nothing_appears(tmp_path: Path) -> None:
    with EpisodeWriter(tmp_path / "a.hdf5", env_args={"env_name": "Lift"}) as writer:
        writer.append(Episode(**{**vars(disturbed(3)), "observations": {"object": np.zeros((3, 10))}}))
    with pytest.raises(DataError, match="wanted observations of a robot, got object"):
        export_lerobot(tmp_path / "a.hdf5", tmp_path / "out")
    assert not (tmp_path / "out").exists()
