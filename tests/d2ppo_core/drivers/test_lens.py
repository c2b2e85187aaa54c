"""A camera's lens comes from the calibration file of its serial, at the size that it streams, or it is said why not."""

from pathlib import Path

import pytest

from d2ppo_core.calibrated import Device, Intrinsics, IntrinsicsFile, now_text, save
from d2ppo_core.drivers.lens import lens_of

FACTORY = Intrinsics(width_px=640, height_px=480, fx_px=600.0, fy_px=600.0, cx_px=319.5, cy_px=239.5)
SIZE = (640, 480)


def calibrated(folder: Path, name: str = "wrist", serial: str = "0815", size: tuple[int, int] = (1280, 960)) -> None:
    lens = Intrinsics(
        width_px=size[0],
        height_px=size[1],
        fx_px=1210.0,
        fy_px=1220.0,
        cx_px=639.5,
        cy_px=479.5,
        distortion=(0.1, 0.0, 0.0, 0.0, 0.0),
    )
    content = IntrinsicsFile(
        made=now_text(),
        camera=Device(name=name, serial=serial),
        intrinsics=lens,
        model="k1",
        held_out_px=0.21,
        sd=(1.0, 1.0, 1.0, 1.0),
        coverage=0.9,
        views=25,
    )
    save(folder, content)


def test_the_file_of_the_serial_counts_whatever_it_is_called_scaled_to_the_stream(tmp_path):
    calibrated(tmp_path, name="other", serial="0815")
    calibrated(tmp_path, name="wrist", serial="4711")
    lens = lens_of(tmp_path, "wrist", "0815", SIZE, FACTORY)
    assert "lens from" in lens.said and "other.intrinsics.yaml" in lens.said and "0 days old, 0.21 px" in lens.said
    found = lens.intrinsics
    assert (found.width_px, found.fx_px, found.fy_px, found.cx_px, found.cy_px) == (640, 605.0, 610.0, 319.5, 239.5)
    assert found.distortion[0] == 0.1


@pytest.mark.parametrize(("theirs", "ours"), [("", "0815"), ("0815", "")])
def test_without_both_serials_the_name_decides(tmp_path, theirs, ours):
    calibrated(tmp_path, serial=theirs)
    assert lens_of(tmp_path, "wrist", ours, SIZE, FACTORY).intrinsics.fx_px == 605.0
    assert lens_of(tmp_path, "scene", ours, SIZE, FACTORY).intrinsics is FACTORY


def test_the_factorys_lens_is_taken_with_the_reason(tmp_path):
    lens = lens_of(tmp_path / "none", "wrist", "0815", SIZE, FACTORY)
    assert lens.intrinsics is FACTORY and "camera wrist (0815): lens as the camera itself says: no calibr" in lens.said
    calibrated(tmp_path, size=(1280, 720))
    lens = lens_of(tmp_path, "wrist", "0815", SIZE, FACTORY)
    assert lens.intrinsics is FACTORY and "of pictures of 1280x720, not of the shape of 640x480" in lens.said
    (tmp_path / "wrist.intrinsics.yaml").write_text("kind: nonsense")
    assert "wanted a calibration file of kind intrinsics" in lens_of(tmp_path, "wrist", "", SIZE, FACTORY).said


def test_a_lens_that_nobody_knows_is_said_to_be_unknown(tmp_path):
    lens = lens_of(tmp_path, "wrist", "", SIZE, None)
    assert lens.intrinsics is None and "camera wrist: lens unknown, camera_info is zero" in lens.said
