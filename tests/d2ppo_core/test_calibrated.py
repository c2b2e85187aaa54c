from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import yaml

from d2ppo_core import calibrated
from d2ppo_core.calibrated import (
    Board,
    Device,
    HandEyeFile,
    Intrinsics,
    IntrinsicsFile,
    Pose,
    age_days,
    hash_of,
    load,
    path_of,
    save,
)  # fmt: skip
from d2ppo_core.errors import CalibrationError, ConfigError, OutputError
from d2ppo_core.geometry import inverse

LENS = Intrinsics(width_px=640, height_px=480, fx_px=600.0, fy_px=601.0, cx_px=320.0, cy_px=240.0)
WRIST = Device(name="wrist", serial="c1")
OPTICS = IntrinsicsFile(
    made="2026-11-01T12:00:00Z", camera=WRIST, intrinsics=LENS, model="no distortion", held_out_px=0.2,
    sd=(1.0, 1.0, 1.0, 1.0), coverage=0.9, views=20,
)  # fmt: skip
HAND_EYE = HandEyeFile(
    made="2026-11-02T12:00:00Z", mount="hand", camera=WRIST, robot=Device(name="fr3", serial="r1"),
    transform=Pose(position_m=(0.05, 0.0, -0.03)), covariance=tuple(tuple(row) for row in (1e-8 * np.eye(6)).tolist()),
    held_out_mm=0.5, held_out_deg=0.1, noise_px=0.2, noise_hand_m=1e-4, noise_hand_rad=1e-4, diversity=1.0, views=15,
    intrinsics=LENS, board=Board(),
)  # fmt: skip


@pytest.mark.parametrize("content", [OPTICS, HAND_EYE], ids=["intrinsics", "hand_eye"])
def test_a_file_is_read_as_it_was_saved(tmp_path: Path, content: IntrinsicsFile | HandEyeFile) -> None:
    path = save(tmp_path / "new", content)
    assert path == path_of(tmp_path / "new", type(content), "wrist") and path.name.startswith("wrist.")
    found = load(path, type(content), camera_serial="c1", robot_serial="r1")
    assert found == content and hash_of(found) == hash_of(content)
    assert load(path, type(content)) == content


def test_the_hash_is_another_one_when_anything_changed() -> None:
    others = {
        hash_of(replace(HAND_EYE, held_out_mm=0.6)),
        hash_of(replace(HAND_EYE, made=OPTICS.made)),
        hash_of(OPTICS),
    }
    assert len(others | {hash_of(HAND_EYE)}) == 4
    assert len(hash_of(OPTICS)) == 16


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"version": 2}, r"written by a newer d2ppo \(format 2, this one reads 1\)"),
        ({"version": True}, "version: wanted a number from 1 to 1, got True"),
        ({"kind": "intrinsics"}, "wanted a calibration file of kind hand_eye"),
        ({"mount": "roof"}, "mount: wanted one of hand, base, got 'roof'"),
        ({"covariance": [[1.0]]}, "covariance: wanted 6 rows of 6 finite numbers"),
        ({"made": "yesterday"}, "does not match format"),
        ({"colour": 1}, "unknown key colour"),
        ({"transform": {"quat_xyzw": [0.0, 0.0, 0.0, 2.0]}}, "wanted a unit quaternion, got norm 2"),
        ({"intrinsics": {"width_px": 0, "height_px": 1}}, "intrinsics"),
    ],
)
def test_what_is_wrong_in_a_file_is_one_line_that_names_it(tmp_path: Path, change: dict, reason: str) -> None:
    path = save(tmp_path, HAND_EYE)
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | change))
    with pytest.raises((CalibrationError, ConfigError), match=reason) as refused:
        load(path, HandEyeFile)
    assert str(path) in str(refused.value) and "\n" not in str(refused.value)


def test_a_file_of_another_camera_or_robot_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path, HAND_EYE)
    with pytest.raises(
        CalibrationError, match="is of the camera with serial c1, not of c2: calibrate this one, or name"
    ):
        load(path, HandEyeFile, camera_serial="c2")
    with pytest.raises(CalibrationError, match="is of the robot with serial r1, not of r2"):
        load(path, HandEyeFile, robot_serial="r2")


def test_the_last_good_file_stays_unless_the_new_one_is_of_the_same_devices(tmp_path: Path) -> None:
    path = save(tmp_path, HAND_EYE)
    other = replace(HAND_EYE, robot=Device(name="fr3", serial="r2"))
    with pytest.raises(CalibrationError, match="serial r1, not of r2"):
        save(tmp_path, other)
    assert load(path, HandEyeFile) == HAND_EYE
    save(tmp_path, replace(HAND_EYE, held_out_mm=0.4))
    assert load(path, HandEyeFile).held_out_mm == 0.4
    save(tmp_path, other, force=True)
    assert load(path, HandEyeFile) == other
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


def test_a_file_of_somebody_is_not_written_over(tmp_path: Path) -> None:
    path_of(tmp_path, IntrinsicsFile, "wrist").write_text("my: notes\n")
    with pytest.raises(OutputError, match="is no calibration file"):
        save(tmp_path, OPTICS)


def test_a_failure_while_writing_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path, OPTICS)
    monkeypatch.setattr(calibrated, "to_mapping", lambda content: {"bad": object()})
    with pytest.raises(yaml.YAMLError):
        save(tmp_path, OPTICS)
    monkeypatch.undo()
    assert load(path, IntrinsicsFile) == OPTICS


def test_age_is_in_days() -> None:
    made = datetime(2026, 11, 1, 12, tzinfo=UTC)
    assert age_days(OPTICS, made + timedelta(days=3)) == pytest.approx(3.0)
    assert age_days(replace(OPTICS, made=calibrated.now_text())) == pytest.approx(0.0, abs=0.01)


def test_a_pose_and_its_matrix_are_the_same() -> None:
    pose = Pose(position_m=(0.1, -0.2, 0.3), quat_xyzw=(0.5, 0.5, 0.5, 0.5))
    assert Pose.of(pose.matrix).quat_xyzw == pytest.approx(pose.quat_xyzw)
    assert Pose.of(inverse(inverse(pose.matrix))).position_m == pytest.approx(pose.position_m)


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"fx_px": -1.0}, "must be positive"), ({"distortion": (0.1, 0.2)}, "distortion: wanted 0 or 5 finite numbers")],
)
def test_a_camera_that_cannot_be_is_refused(change: dict, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        replace(LENS, **change)
