"""The commands, on folders of rendered pictures: a board under a camera on the hand, from the sheet to the check."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result

from calibration.capture import Capture, View, load_capture, write_capture
from calibration.chain import moved
from calibration.cli import calibrate
from d2ppo_core.calibrated import Device, HandEyeFile, IntrinsicsFile, Pose, load
from d2ppo_core.errors import ConfigError, D2ppoError
from d2ppo_core.geometry import inverse

from . import renders
from .renders import Studio
from .synthetic import BOARD, T_BASE_BOARD, T_EE_CAMERA, camera_poses, check_poses, error_of
from .test_intrinsics import tilted_camera

WRIST, ROBOT = Device(name="wrist", serial="c1"), Device(name="fr3", serial="r1")


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    made = Studio(BOARD, T_BASE_BOARD, tmp_path_factory.mktemp("studio"))
    yield made
    made.renderer.close()


def take(studio: Studio, folder: Path, board_camera: np.ndarray, T_ee_camera: np.ndarray = T_EE_CAMERA) -> Path:
    """Write a capture of pictures from these places, by a camera that may not be where it was."""
    folder.mkdir()
    views = []
    for number, pose in enumerate(board_camera):
        T_base_camera = T_BASE_BOARD @ pose
        cv2.imwrite(str(folder / f"{number:02d}.png"), studio.picture(T_base_camera))
        hand = Pose.of(T_base_camera @ inverse(T_ee_camera))
        views.append(View(picture=f"{number:02d}.png", position_m=hand.position_m, quat_xyzw=hand.quat_xyzw))
    capture = Capture(camera=WRIST, robot=ROBOT, board=BOARD, factory=renders.CAMERA, views=tuple(views))
    write_capture(folder, capture)
    return folder


@pytest.fixture(scope="module")
def pictures(studio: Studio, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three captures: for the intrinsics, for hand-eye, and three views for the check."""
    folder, rng = tmp_path_factory.mktemp("captures"), np.random.default_rng(3)
    take(studio, folder / "wide", np.stack([tilted_camera(rng) for _ in range(16)]))
    take(studio, folder / "round", camera_poses(rng, 12))
    take(studio, folder / "three", check_poses(rng))
    knocked = moved(T_EE_CAMERA, np.array((0.0, 0.005, 0.0, 0.0, 0.0, 0.0)))
    take(studio, folder / "knocked", check_poses(rng), knocked)
    return folder


def ran(*words: object) -> Result:
    return CliRunner().invoke(calibrate, [str(word) for word in words])


def said(*words: object) -> str:
    result = ran(*words)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def refused(*words: object) -> str:
    error = ran(*words).exception
    assert isinstance(error, D2ppoError), error
    assert "\n" not in str(error)
    return str(error)


def test_a_board_is_written_as_described(tmp_path: Path) -> None:
    output = said("board", "--columns", 5, "--rows", 4, "--square-mm", 25, "--out", tmp_path / "mine")
    assert "its ruler must be 120 mm long" in output
    assert (tmp_path / "mine.pdf").stat().st_size and (tmp_path / "mine.png").stat().st_size


def test_from_pictures_to_a_calibration_that_holds(pictures: Path, tmp_path: Path) -> None:
    """Intrinsics, hand-eye and check in one go: 0.3 % of the focal length, a millimetre, a twentieth of a degree."""
    lens = said("intrinsics", pictures / "wide", "--folder", tmp_path)
    assert "taken        no distortion" in lens and "factory      focal length" in lens
    optics = load(tmp_path / "wrist.intrinsics.yaml", IntrinsicsFile, camera_serial="c1")
    assert optics.intrinsics.fx_px == pytest.approx(renders.FOCAL_PX, rel=0.003)
    assert optics.held_out_px < 0.15

    page = tmp_path / "page.html"
    output = said("hand-eye", pictures / "round", "--folder", tmp_path, "--page", page)
    stored = load(tmp_path / "wrist.hand_eye.yaml", HandEyeFile, camera_serial="c1", robot_serial="r1")
    off_mm, off_deg = error_of(stored.transform.matrix)
    print(f"\n  rendered: {off_mm:.3f} mm, {off_deg:.4f}° off; held out {stored.held_out_mm:.3f} mm\n{output}")
    assert off_mm < 1.0 and off_deg < 0.05 and stored.held_out_mm < 1.0
    assert "T_ee_camera x" in output and "no joint angles in the capture" in output
    html = page.read_text()
    assert html.count("data:image/jpeg") == 12 and "Where wrist is, on the hand" in html and 'src="http' not in html

    assert "holds        such views have a chance of" in said("check", pictures / "three", "--folder", tmp_path)
    knocked = ran("check", pictures / "knocked", "--folder", tmp_path)
    assert knocked.exit_code == 1 and "moved        such views have a chance of 1e-12" in knocked.output


def test_a_result_that_is_too_bad_is_not_saved_unless_forced_and_names_a_view(pictures: Path, tmp_path: Path) -> None:
    line = refused(
        "hand-eye", pictures / "round", "--folder", tmp_path, "--most-mm", 0.001, "--page", tmp_path / "p.html"
    )
    assert "not saved: held-out error" in line and ".png again first, or --force" in line
    assert not (tmp_path / "wrist.hand_eye.yaml").exists() and "not saved" in (tmp_path / "p.html").read_text()
    options = ("--folder", tmp_path, "--most-mm", 0.001, "--page", tmp_path / "p.html", "--force")
    assert "saved        " in said("hand-eye", pictures / "round", *options)
    assert "wanted 0.001 or less; take" in refused(
        "intrinsics", pictures / "wide", "--folder", tmp_path, "--most-px", 0.001
    )


def changed(folder: Path, to: Path, **changes: object) -> Path:
    shutil.copytree(folder, to)
    write_capture(to, replace(load_capture(to), **changes))
    return to


def test_another_camera_or_robot_is_refused_and_the_last_good_file_stays(pictures: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    said("hand-eye", pictures / "round", "--folder", store, "--page", tmp_path / "p.html")
    before = (store / "wrist.hand_eye.yaml").read_bytes()
    other = changed(pictures / "three", tmp_path / "other", camera=Device(name="wrist", serial="c9"))
    assert "is of the camera with serial c1, not of c9" in refused("check", other, "--folder", store)
    foreign = changed(pictures / "round", tmp_path / "foreign", robot=Device(name="fr3", serial="r9"))
    assert "is of the robot with serial r1, not of r9" in refused("hand-eye", foreign, "--folder", store)
    newer = yaml.safe_load(before) | {"version": 2}
    (store / "wrist.hand_eye.yaml").write_text(yaml.safe_dump(newer))
    assert "written by a newer d2ppo" in refused("check", pictures / "three", "--folder", store)
    (store / "wrist.hand_eye.yaml").write_bytes(before)
    base = changed(pictures / "three", tmp_path / "base", mount="base")
    assert "mount is hand, this capture's is base" in refused("check", base, "--folder", store)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            ("--dictionary", "4X4_50"),
            "0 of 12 views are usable, wanted 6; the first one that is not, 00.png: 0 corners and",
        ),
        (
            ("--columns", 6, "--rows", 4),
            "0 of 12 views are usable, wanted 6; the first one that is not, 00.png: shows marker",
        ),
        (("--columns", 7, "--rows", 9), "00.png: 27 markers seen, but they do not lie as on a board of 7x9 squares"),
        (("--square-mm", 30.0), "the board is 6.[5-8] % smaller than described: (27.9|28.0). mm instead of 30.00 mm"),
    ],
    ids=["other markers", "smaller board", "other shape", "other size"],
)
def test_a_board_that_is_not_the_one_described_is_refused(pictures: Path, tmp_path: Path, options: tuple, reason: str):
    line = refused("hand-eye", pictures / "round", "--folder", tmp_path, *options)
    assert re.search(reason, line), line


def test_views_that_cannot_be_used_are_named_and_the_rest_is(pictures: Path, tmp_path: Path) -> None:
    folder = changed(pictures / "round", tmp_path / "round")
    capture = load_capture(folder)
    cv2.imwrite(str(folder / "01.png"), np.full((480, 640), 128, np.uint8))
    blurred = cv2.GaussianBlur(cv2.imread(str(folder / "02.png")), (0, 0), 3.5)
    cv2.imwrite(str(folder / "02.png"), blurred)
    views = list(capture.views)
    views[3] = replace(views[3], moved_m=0.002)
    write_capture(folder, replace(capture, views=tuple(views)))
    output = said("hand-eye", folder, "--folder", tmp_path / "store", "--page", tmp_path / "p.html")
    assert "refused      01.png: 0 corners" in output and "refused      03.png: the hand moved by 2.0 mm" in output
    assert "refused      02.png: " in output and "views        9 of 12 are usable" in output
    assert "02.png: " in (tmp_path / "p.html").read_text()


def test_without_intrinsics_or_of_another_size_the_next_step_is_named(pictures: Path, tmp_path: Path) -> None:
    bare = changed(pictures / "round", tmp_path / "bare", factory=None)
    assert "run d2ppo calibrate intrinsics first" in refused("hand-eye", bare, "--folder", tmp_path)
    other = replace(renders.CAMERA, width_px=1280, height_px=960)
    large = changed(pictures / "round", tmp_path / "large", factory=other)
    assert "the pictures are 640x480, the intrinsics are of 1280x960" in refused(
        "hand-eye", large, "--folder", tmp_path
    )
    assert isinstance(ran("hand-eye", tmp_path / "none").exception, ConfigError)
    assert isinstance(ran("check", pictures / "three", "--folder", tmp_path / "none").exception, ConfigError)


def test_repeated_views_do_not_count_for_intrinsics(pictures: Path, tmp_path: Path) -> None:
    folder = changed(pictures / "wide", tmp_path / "wide")
    capture = load_capture(folder)
    write_capture(folder, replace(capture, views=(*capture.views, capture.views[0])))
    output = said("intrinsics", folder, "--folder", tmp_path / "store")
    assert "refused      00.png: the same view as 00.png: move or tilt the board" in output
