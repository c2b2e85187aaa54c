"""Files as people and programs leave them: what can be read is, what cannot is refused with file, place and reason."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from d2ppo_core.config import DataConfig
from d2ppo_core.data.episodes import EpisodeReader, EpisodeWriter
from d2ppo_core.data.rewrite import rewrite
from d2ppo_core.data.summary import summarize
from d2ppo_core.data.windows import load_windows
from d2ppo_core.errors import DataError

SIZES = {"object": 10, "robot0_eef_pos": 3, "robot0_eef_quat": 4, "robot0_gripper_qpos": 2}
CONFIG = DataConfig(validation_episodes=0, pred_horizon=4)
GOALS = DataConfig(
    validation_episodes=0, pred_horizon=4, action_representation="ee_absolute", base_yaw_rad=(0.0,)
)  # fmt: skip

Change = Callable[[h5py.File], None]


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """robomimic's layout as others write it: nothing in it says that it is ours."""
    path = tmp_path / "foreign.hdf5"
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = json.dumps({"env_name": "Lift", "type": 1, "env_kwargs": {"control_freq": 20}})
        for number in range(3):
            demo = data.create_group(f"demo_{number}")
            demo["actions"], demo["states"] = np.full((6, 7), 0.1), np.zeros((6, 32))
            demo["rewards"], demo["dones"] = np.zeros(6), np.zeros(6, np.int64)
            for key, size in SIZES.items():
                demo[f"obs/{key}"] = np.full((6, size), 0.5)
            demo.attrs["num_samples"] = 6
    return path


def changed(path: Path, change: Change) -> Path:
    with h5py.File(path, "a") as file:
        change(file)
    return path


def put(place: str, value: Any) -> Change:
    """What replaces an array."""

    def change(file: h5py.File) -> None:
        if place in file:
            del file[place]
        file[place] = value

    return change


def say(holder: str, key: str, value: Any) -> Change:
    """What sets an attribute; None deletes it."""

    def change(file: h5py.File) -> None:
        file[holder].attrs.pop(key, None)
        if value is not None:
            file[holder].attrs[key] = value

    return change


def spoilt(steps: int, size: int, at: tuple[int, int], value: float) -> np.ndarray:
    values = np.full((steps, size), 0.5)
    values[at] = value
    return values


ABSOLUTE_14 = {"env_name": "Lift", "env_kwargs": {"controller_configs": {"type": "OSC_POSE", "control_delta": False}}}
ABSOLUTE_15 = {
    "env_name": "Lift",
    "env_kwargs": {"controller_configs": {"body_parts": {"right": {"type": "OSC_POSE", "input_type": "absolute"}}}},
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (say("data", "env_args", "null"), "env_args of /data must be a JSON object, got 'null'"),
        (say("data", "env_args", "{"), "env_args of /data must be a JSON object, got '{'"),
        (say("data", "env_args", None), "does not say which environment it is from"),
        (put("data", np.zeros(3)), "/ has 'data', but as an array; wanted a group; wanted robomimic's layout"),
        (put("data/demo_1", np.zeros(3)), "/data has 'demo_1', but as an array; wanted a group"),
        (put("data/demo_1/actions", np.zeros((5, 7))), "demo_1/actions must have 6 steps, got 5"),
        (put("data/demo_1/actions", np.zeros(6)), r"demo_1/actions must be \(T, D\), got \(6,\)"),
        (put("data/demo_1/actions", np.zeros((6, 4))), "demo_1: actions of 4 numbers; wanted 7 per arm"),
        (put("data/demo_1/actions", np.zeros((6, 14))),
         "demo_1/actions has 14 numbers per step, but demo_0/actions has 7"),
        (put("data/demo_1/actions", spoilt(6, 7, (3, 2), np.nan)), r"demo_1/actions is nan at step 3 \(component 2\);"),
        (put("data/demo_1/actions", spoilt(6, 7, (5, 0), 1e300)), r"demo_1/actions is 1e\+300 at step 5"),
        (put("data/demo_2/obs/object", spoilt(6, 10, (1, 9), -np.inf)), r"demo_2/obs/object is -inf at step 1"),
        (put("data/demo_2/obs/object", np.array([b"a"] * 6)), "demo_2/obs/object holds words; wanted numbers"),
        (put("data/demo_2/obs/object", np.zeros((6, 11))), "demo_2/obs/object has 11 numbers per step, but demo_0"),
        (put("data/demo_2/obs/object", np.zeros((6, 2, 5))), r"demo_2/obs/object: wanted numbers \(T, D\), got"),
        (put("data/demo_2/obs/object", h5py.Empty("f8")), "demo_2/obs/object holds nothing; wanted an array"),
        (put("data/demo_2/obs/object", 3.5), "demo_2/obs/object holds one value; wanted an array"),
        (put("data/demo_2/obs/object", h5py.SoftLink("/data/demo_2/obs")), "object is a group; wanted an array"),
        (put("data/demo_2/obs/robot0_eef_quat", np.zeros((6, 4))),
         "demo_2/obs/robot0_eef_quat is no rotation at step 0"),
        (put("data/demo_2/rewards", np.zeros((6, 2))), r"demo_2/rewards must be \(T,\), got \(6, 2\)"),
        (say("data/demo_0", "num_samples", "many"), "attribute num_samples of /data/demo_0, the file is damaged"),
        (say("data/demo_0", "num_samples", 7), "demo_0/actions must have 7 steps, got 6"),
        (say("data", "env_args", json.dumps(ABSOLUTE_14)), "demo_0: the controller took absolute goals"),
        (say("data", "env_args", json.dumps(ABSOLUTE_15)), "demo_0: the controller took absolute goals"),
    ],
)  # fmt: skip
def test_what_training_cannot_take_is_refused_with_file_demonstration_and_reason(
    foreign: Path, change: Change, message: str
) -> None:
    with pytest.raises(DataError, match=message) as refused:
        load_windows(changed(foreign, change), CONFIG, env_name="Lift")
    assert str(foreign) in str(refused.value) and "\n" not in str(refused.value)


def test_absolute_actions_are_named_as_such_where_goals_are_wanted_too(foreign: Path) -> None:
    changed(foreign, put("data/demo_0/actions", np.zeros((6, 10))))
    with pytest.raises(
        DataError, match="actions of 10 numbers; wanted 7 per arm .* take the file with deltas"
    ) as error:
        load_windows(foreign, GOALS)
    assert "base_yaw_rad" not in str(error.value)


@pytest.mark.parametrize(
    "change",
    [
        say("data", "env_args", json.dumps({"env_name": "Lift", "type": 1, "env_kwargs": None})),
        lambda file: file["data"].create_group("meta").attrs.update(author="me"),
        lambda file: [file[f"data/demo_{n}"].attrs.pop("num_samples") for n in range(3)],
        lambda file: [put(f"data/demo_{n}/obs/words", np.array([b"lift"] * 6))(file) for n in range(3)],
        lambda file: [put(f"data/demo_{n}/obs/contact", np.ones((6, 1), np.uint8))(file) for n in range(3)],
        lambda file: [put(f"data/demo_{n}/rewards", np.ones((6, 1)))(file) for n in range(3)],
        say("data/demo_0", "model_file", np.bytes_("<mujoco model='Prüfstand'/>".encode("latin-1"))),
        lambda file: file["data"].__setitem__("demo_link", h5py.SoftLink("/nowhere")),
    ],
    ids=["no kwargs", "group beside", "no num_samples", "words", "bytes", "column", "latin-1", "dead link"],
)
def test_what_does_not_matter_is_no_reason_to_refuse(foreign: Path, tmp_path: Path, change: Change) -> None:
    changed(foreign, change)
    windows, _ = load_windows(foreign, CONFIG, env_name="Lift")
    assert (windows.num_episodes, len(windows)) == (3, 18)
    assert "demonstrations 3" in summarize(foreign)
    assert rewrite(foreign, tmp_path / "new.hdf5") == 3
    with EpisodeReader(foreign) as old, EpisodeReader(tmp_path / "new.hdf5") as new:
        for one, other in zip(old.episodes(), new.episodes(), strict=True):
            assert one.observations.keys() == other.observations.keys()
            for key, values in one.observations.items():
                np.testing.assert_array_equal(values, other.observations[key])
            one.model_xml.encode()


def test_an_array_that_claims_more_than_its_file_can_hold_is_not_tried(foreign: Path) -> None:
    def claim(file: h5py.File) -> None:
        del file["data/demo_1/obs/object"]
        file["data/demo_1/obs"].create_dataset("object", (6, 10**11), "f8", chunks=(1, 1000))

    with pytest.raises(DataError, match=r"demo_1/obs/object, the file is damaged \(it claims a size of \(6, 1000"):
        load_windows(changed(foreign, claim), CONFIG)


def test_numbers_that_are_not_finite_are_shown_by_info_but_not_copied(foreign: Path, tmp_path: Path) -> None:
    changed(foreign, put("data/demo_1/actions", spoilt(6, 7, (3, 2), np.nan)))
    assert "not finite    1 demonstrations; demo_1/actions is nan at step 3 (component 2)" in summarize(foreign)
    with pytest.raises(DataError, match="demo_1/actions is nan at step 3"):
        rewrite(foreign, tmp_path / "new.hdf5")
    assert not (tmp_path / "new.hdf5").exists()


def test_a_raw_recording_of_robosuite_is_told_how_to_become_one_of_robomimic(foreign: Path) -> None:
    def strip(file: h5py.File) -> None:
        del file["data"].attrs["env_args"]
        file["data"].attrs.update(env="Lift", env_info="{}", repository_version="1.4.1")

    with pytest.raises(
        DataError, match=r"raw recording of robosuite.* of a copy by python -m robomimic\S*convert_robosuite"
    ):
        EpisodeReader(changed(foreign, strip))


@pytest.mark.parametrize("kind", ["foreign", "raw", "act", "text"])
def test_a_file_of_somebodys_is_never_written_to(foreign: Path, kind: str) -> None:
    if kind == "raw":
        changed(
            foreign, lambda file: [file["data"].attrs.pop("env_args"), file["data/demo_0"].attrs.pop("num_samples")]
        )
    elif kind == "act":
        changed(foreign, lambda file: [file.__delitem__("data"), put("action", np.zeros((10, 14)))(file)])
    elif kind == "text":
        foreign.write_text("precious")
    before = foreign.read_bytes()
    with pytest.raises(DataError, match="was not recorded by this program|is not a readable HDF5 file"):
        EpisodeWriter(foreign, env_args={"env_name": "Lift"}, recording={"seed": 0})
    assert foreign.read_bytes() == before


def test_a_deleted_demonstration_is_a_gap_and_what_is_beside_is_kept(foreign: Path, tmp_path: Path) -> None:
    rewrite(foreign, tmp_path / "ours.hdf5")
    with EpisodeReader(foreign) as reader:
        episode, env_args = reader.read("demo_0"), reader.env_args

    def change(file: h5py.File) -> None:
        del file["data/demo_1"]
        file["data"].create_group("notes")

    changed(tmp_path / "ours.hdf5", change)
    with EpisodeWriter(tmp_path / "ours.hdf5", env_args=env_args) as writer:
        assert (len(writer), writer.append(episode), len(writer)) == (2, "demo_3", 3)
    with EpisodeReader(tmp_path / "ours.hdf5") as reader:
        assert reader.names == ("demo_0", "demo_2", "demo_3")
    with h5py.File(tmp_path / "ours.hdf5") as file:
        assert "notes" in file["data"] and file["data"].attrs["total"] == 18
