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


def write(path: Path, *episodes: Episode, **env_kwargs: object) -> Path:
    with EpisodeWriter(path, env_args={"env_name": "Lift", "env_kwargs": env_kwargs}) as writer:
        for episode in episodes:
            writer.append(episode)
    return path


def seeing(length: int, **observations: np.ndarray) -> Episode:
    episode = disturbed(length)
    return Episode(**{**vars(episode), "observations": {**episode.observations, **observations}})


def test_a_rate_that_is_no_whole_number_stays_what_it_is(tmp_path: Path) -> None:
    picture = np.zeros((40, 16, 16, 3), np.uint8)
    for rate_hz, written in ((12.5, 12.5), (50 / 3, 50 / 3), (20.0, 20)):
        source = write(tmp_path / f"{rate_hz}.hdf5", seeing(40, front_image=picture), control_freq=rate_hz)
        export_lerobot(source, tmp_path / str(rate_hz))
        info = read_info(tmp_path / str(rate_hz))
        assert info["fps"] == written and type(info["fps"]) is type(written)
        table = parquet.read_table(tmp_path / str(rate_hz) / DATA_PATH.format(chunk_index=0, file_index=0))
        frames = np.array(table["frame_index"])
        np.testing.assert_allclose(np.array(table["timestamp"]), frames / info["fps"], rtol=0, atol=1e-5)
        film = tmp_path / str(rate_hz) / VIDEO_PATH.format(
            video_key="observation.images.front", chunk_index=0, file_index=0
        )  # fmt: skip
        assert iio.immeta(film, plugin="FFMPEG")["duration"] == pytest.approx(40 / rate_hz, abs=0.011)


@pytest.mark.parametrize("rate", [0, -20, "fast", float("nan"), True, 1e9])
def test_a_rate_that_is_none_is_refused(tmp_path: Path, rate: object) -> None:
    source = write(tmp_path / "a.hdf5", disturbed(3), control_freq=rate)
    with pytest.raises(DataError, match="a.hdf5: env_args: control_freq must be a rate in Hz"):
        export_lerobot(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_left_out_is_said_with_the_reason(tmp_path: Path) -> None:
    source = write(
        tmp_path / "a.hdf5",
        seeing(
            3,
            contact=np.zeros((3, 1), np.uint8),
            front_depth=np.zeros((3, 16, 16, 1), np.float32),
            wide_image=np.zeros((3, 21, 30, 3), np.uint8),
            hot_image=np.full((3, 16, 16, 3), 255.0),
            words=np.array([b"lift"] * 3),
        ),
    )
    summary = export_lerobot(source, tmp_path / "out")
    assert summary.cameras == () and summary.left_out == {
        "contact": "numbers that are neither a robot's nor called `object`",
        "front_depth": "float32 of shape (16, 16, 1): neither numbers (D) nor colour pictures (H, W, 3)",
        "wide_image": "pictures of 30 x 21 pixels; a video wants even sides",
        "hot_image": "colours from 255 to 255, not 0 to 1",
        "words": "words",
    }


def test_pictures_of_colours_between_0_and_1_become_8_bits(tmp_path: Path) -> None:
    grey = np.linspace(0.0, 1.0, 4)[:, None, None, None] * np.ones((4, 16, 16, 3))
    source = write(tmp_path / "a.hdf5", seeing(4, front_image=grey.astype(np.float32)))
    summary = export_lerobot(source, tmp_path / "out")
    assert summary.cameras == ("observation.images.front",) and not summary.left_out
    film = iio.imread(
        tmp_path / "out" / VIDEO_PATH.format(video_key=summary.cameras[0], chunk_index=0, file_index=0)
    )  # fmt: skip
    np.testing.assert_allclose(film.mean(axis=(1, 2, 3)), [0, 85, 170, 255], atol=4)
    info = read_info(tmp_path / "out")["features"][summary.cameras[0]]["info"]
    assert (info["is_depth_map"], info["video.is_depth_map"]) == (False, False)


def test_demonstrations_that_differ_are_refused_by_name_and_nothing_appears(tmp_path: Path) -> None:
    bright = seeing(4, front_image=np.full((4, 16, 16, 3), 2.0))
    cases = {
        "demo_1 lacks the observation object": (seeing(3, object=np.zeros((3, 10))), disturbed(4)),
        r"demo_1/obs/object: wanted \(10,\) per step": (
            seeing(3, object=np.zeros((3, 10))), seeing(4, object=np.zeros((4, 9))),
        ),
        "demo_1: wanted actions of 7 numbers": (
            disturbed(3), Episode(**{**vars(disturbed(4)), "actions": np.zeros((4, 14)), "expert_actions": None}),
        ),
        "demo_1/obs/front_image: wanted colours from 0 to 1": (seeing(3, front_image=np.ones((3, 16, 16, 3))), bright),
    }  # fmt: skip
    for number, (message, episodes) in enumerate(cases.items()):
        source = write(tmp_path / f"{number}.hdf5", *episodes)
        with pytest.raises(DataError, match=f"{number}.hdf5: {message}"):
            export_lerobot(source, tmp_path / "out")
    assert {path.suffix for path in tmp_path.iterdir()} == {".hdf5"}


def test_actions_that_are_no_deltas_are_not_called_so(tmp_path: Path) -> None:
    absolute = Episode(**{**vars(disturbed(3)), "actions": np.zeros((3, 10)), "expert_actions": None})
    export_lerobot(write(tmp_path / "a.hdf5", absolute), tmp_path / "out")
    assert read_info(tmp_path / "out")["features"]["action"]["names"] == [f"action_{i}" for i in range(10)]


def test_what_is_no_number_is_refused_and_a_folder_of_the_users_beside_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / "chapter.tex").write_text("precious")
    bad = np.full((3, 7), 0.5)
    bad[1, 2] = np.nan
    source = write(tmp_path / "a.hdf5", disturbed(4), Episode(**{**vars(disturbed(3)), "expert_actions": bad}))
    with pytest.raises(DataError, match=r"demo_1/expert_actions is nan at step 1 \(component 2\)"):
        export_lerobot(source, tmp_path / "out")
    export_lerobot(write(tmp_path / "b.hdf5", disturbed(4)), tmp_path / "out")
    assert (tmp_path / "out.partial" / "chapter.tex").read_text() == "precious"
    assert {path.name for path in tmp_path.iterdir()} == {"a.hdf5", "b.hdf5", "out", "out.partial"}
