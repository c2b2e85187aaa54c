from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from calibration.capture import Capture, View, hand_pose, load_capture, read_picture, write_capture
from d2ppo_core.calibrated import Board, Device, Pose
from d2ppo_core.errors import CalibrationError, ConfigError

from .synthetic import CAMERA, HAND, READY_RAD, posture

AT = Pose.of(posture(READY_RAD, HAND).pose)
VIEW = View(picture="a.png", position_m=AT.position_m, quat_xyzw=AT.quat_xyzw)
CAPTURE = Capture(
    camera=Device(name="wrist", serial="12"), robot=Device(name="fr3", serial="r7"), board=Board(square_m=0.0281),
    factory=CAMERA, tool=Pose.of(HAND), views=(VIEW, View(picture="b.png", q_rad=tuple(READY_RAD.tolist()))),
)  # fmt: skip


def test_a_capture_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_capture(tmp_path, CAPTURE)
    assert load_capture(tmp_path) == CAPTURE
    plain = replace(CAPTURE, factory=None, tool=None, mount="base")
    write_capture(tmp_path, plain)
    assert load_capture(tmp_path) == plain


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"version": 2}, "written by a newer d2ppo"),
        ({"version": "new"}, "version: wanted a number from 1 to 1, got 'new'"),
        ({"mount": "wall"}, "mount: wanted one of hand, base, got 'wall'"),
        ({"camera": {"name": "a/b"}}, "name: wanted letters, digits, _ and -, got 'a/b'"),
        ({"factory": {"fx_px": 1.0}}, "missing"),
        ({"views": [{"picture": "a.png", "q_rad": [1.0]}]}, r"q_rad: wanted 7 finite numbers, got \[1.0\]"),
        ({"views": [{"picture": "a.png", "position_m": [0.0, 0.0, 0.0]}]}, "quat_xyzw: wanted 4 finite numbers"),
        ({"lens": 1}, "unknown key lens; allowed: version, camera"),
    ],
)
def test_what_is_wrong_in_it_is_one_line_that_names_the_file(tmp_path: Path, change: dict, reason: str) -> None:
    path = write_capture(tmp_path, CAPTURE)
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | change))
    with pytest.raises((ConfigError, CalibrationError), match=f"capture.yaml: .*{reason}") as refused:
        load_capture(tmp_path)
    assert "\n" not in str(refused.value)


def test_a_folder_without_the_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="capture.yaml: cannot be read: No such file"):
        load_capture(tmp_path)


def test_the_hand_is_where_pose_or_joints_say() -> None:
    expected = posture(READY_RAD, HAND).pose
    for view in CAPTURE.views:
        assert hand_pose(CAPTURE, view) == pytest.approx(expected, abs=1e-9)
    turned = hand_pose(CAPTURE, CAPTURE.views[1], (0.1, *(0.0,) * 6))
    assert turned == pytest.approx(posture(READY_RAD + (0.1, 0, 0, 0, 0, 0, 0), HAND).pose)


@pytest.mark.parametrize(
    ("capture", "view", "reason"),
    [
        (CAPTURE, replace(VIEW, moved_m=0.004), r"a\.png: the hand moved by 4.0 mm and 0.00° during this"),
        (replace(CAPTURE, tool=None), CAPTURE.views[1], "b.png: wanted position_m and quat_xyzw of the hand, or q_rad"),
        (
            replace(CAPTURE, tool=Pose()), replace(VIEW, q_rad=tuple(READY_RAD.tolist())),
            "differ by 103.4 mm and 45.00°: tool is not the one that the robot is configured for",
        ),
    ],
)  # fmt: skip
def test_a_view_whose_hand_is_not_known_is_refused(capture: Capture, view: View, reason: str) -> None:
    with pytest.raises(CalibrationError, match=reason):
        hand_pose(capture, view)


def test_stored_offsets_need_joint_angles() -> None:
    with pytest.raises(CalibrationError, match="wanted q_rad and a tool, since offsets of the joints are stored"):
        hand_pose(CAPTURE, VIEW, (0.1,) * 7)


def test_a_picture_is_read_in_grey_or_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((4, 6, 3), 99, np.uint8))
    assert read_picture(tmp_path, VIEW).tolist() == np.full((4, 6), 99).tolist()
    (tmp_path / "b.png").write_text("nothing")
    with pytest.raises(CalibrationError, match=r"b\.png: not a picture; wanted PNG or JPEG"):
        read_picture(tmp_path, replace(VIEW, picture="b.png"))
    with pytest.raises(CalibrationError, match=r"c\.png: cannot be read: No such file"):
        read_picture(tmp_path, replace(VIEW, picture="c.png"))
