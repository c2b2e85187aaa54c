from dataclasses import replace
from pathlib import Path

import pytest

from d2ppo_core.calibrated import HandEyeFile, IntrinsicsFile, hash_of, now_text, path_of, save
from d2ppo_core.doctor.calibrations import check_calibrations
from d2ppo_core.doctor.finding import Status

from ..test_calibrated import HAND_EYE, OPTICS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Intrinsics and a hand-eye calibration that was measured with them, of today."""
    optics = replace(OPTICS, made=now_text())
    save(tmp_path, optics)
    save(tmp_path, replace(HAND_EYE, made=now_text(), intrinsics_hash=hash_of(optics)))
    return tmp_path


def found(folder: Path) -> list[tuple[str, Status, str]]:
    return [(finding.name, finding.status, finding.text) for finding in check_calibrations(folder)]


def test_files_of_today_that_go_together_are_fine(folder: Path) -> None:
    assert [(name, status) for name, status, _ in found(folder)] == [
        ("wrist.intrinsics", Status.OK),
        ("wrist.hand_eye", Status.OK),
    ]
    assert all(text.endswith(", 0 days old") for *_, text in found(folder))


def test_where_there_are_none_there_is_nothing_to_say(tmp_path: Path) -> None:
    assert found(tmp_path) == [] == found(tmp_path / "none")


def test_an_old_one_is_to_be_checked(folder: Path) -> None:
    save(folder, replace(OPTICS, made="2025-01-01T00:00:00Z"))
    name, status, text = found(folder)[0]
    assert (name, status) == ("wrist.intrinsics", Status.WARN) and "days old: d2ppo calibrate check" in text


def test_intrinsics_that_changed_since_are_noticed(folder: Path) -> None:
    save(folder, replace(OPTICS, made=now_text(), held_out_px=0.3))
    (_, fine, _), (name, status, text) = found(folder)
    assert (fine, name, status) == (Status.OK, "wrist.hand_eye", Status.WARN)
    assert "was measured with other intrinsics than those in" in text


@pytest.mark.parametrize("kind", [IntrinsicsFile, HandEyeFile])
def test_one_that_cannot_be_read_is_named_with_the_reason(folder: Path, kind: type) -> None:
    path_of(folder, kind, "wrist").write_text("kind: none\n")
    name, status, text = found(folder)[-1]
    assert status is Status.WARN and "wanted a calibration file of kind" in text
