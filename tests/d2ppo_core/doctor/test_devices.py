import os
from pathlib import Path

import numpy as np
import pytest

from d2ppo_core.bundle import ActionSpec, Golden, Manifest, ObservationSpec, write_bundle
from d2ppo_core.doctor.devices import check_bundle, check_realsense, check_rendering
from d2ppo_core.doctor.finding import Status
from d2ppo_core.shipped import shipped


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    manifest = Manifest(
        name="probe",
        task="lift",
        observations=(ObservationSpec(key="robot0_eef_pos", shape=(3,), dtype="float32", unit="m", frame="world"),),
        action=ActionSpec(),
        pred_horizon=4,
        action_horizon=4,
        num_denoising_steps=10,
        sampler="ddim_eta0_clip_recompute_eps",
    )
    inputs = {"state": np.zeros((1, 3), np.float32), "noise": np.zeros((1, 4, 7), np.float32)}
    write_bundle(
        tmp_path / "probe",
        onnx=b"graph",
        manifest=manifest,
        golden=Golden(inputs=inputs, actions=np.zeros((1, 4, 7), np.float32)),
    )
    return tmp_path / "probe"


def test_a_complete_bundle_is_fine(bundle: Path) -> None:
    finding = check_bundle(str(bundle), "lift", {})
    assert finding.status is Status.OK
    assert "probe, task lift, hash " in finding.text


def test_a_damaged_bundle_is_named_with_the_damaged_file(bundle: Path) -> None:
    graph = bytearray((bundle / "policy.onnx").read_bytes())
    graph[0] ^= 1
    (bundle / "policy.onnx").write_bytes(graph)
    finding = check_bundle(str(bundle), "lift", {})
    assert finding.status is Status.FAIL
    assert "checksum mismatch" in finding.text and "policy.onnx" in finding.text


def test_an_incomplete_or_missing_bundle_is_a_failure(bundle: Path) -> None:
    (bundle / "golden.npz").unlink()
    assert "misses golden.npz" in check_bundle(str(bundle), "lift", {}).text
    assert check_bundle(str(bundle / "none"), "lift", {}).status is Status.FAIL


@pytest.mark.parametrize(
    ("task", "status", "words"),
    [
        ("lift", Status.OK, "lift_image, task lift, hash "),
        ("transport", Status.WARN, "task transport has none of its own yet"),
        ("fold", Status.FAIL, "unknown task 'fold'; known are lift, can, square, transport"),
    ],
)
def test_a_stack_that_names_no_bundle_has_its_tasks(task: str, status: Status, words: str) -> None:
    finding = check_bundle("", task, os.environ)
    assert finding.status is status and finding.text.startswith(words)


def test_a_headless_opengl_context_can_be_made_here() -> None:
    assert check_rendering(os.environ).status is Status.OK


def test_a_machine_without_egl_is_told_what_to_install() -> None:
    broken = {**os.environ, "__EGL_VENDOR_LIBRARY_FILENAMES": "/nonexistent.json"}
    finding = check_rendering(broken)
    assert finding.status is Status.FAIL
    command, script = finding.text.rpartition("run: ")[2].split()
    assert command == "bash" and Path(script).samefile(shipped("tools/debian-packages.sh"))


def test_a_missing_camera_matters_only_where_one_is_required() -> None:
    optional = check_realsense(os.environ, required=False)
    assert optional.status is Status.OK
    if "library loads, 0 cameras" in optional.text:
        assert check_realsense(os.environ, required=True).status is Status.FAIL


def test_a_camera_library_that_does_not_load_is_a_warning_in_simulation(tmp_path: Path) -> None:
    (tmp_path / "pyrealsense2.py").write_text("raise ImportError('libusb-1.0.so.0: cannot open shared object file')")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    finding = check_realsense(environment, required=False)
    assert finding.status is Status.WARN
    assert "libusb-1.0.so.0" in finding.text
    assert check_realsense(environment, required=True).status is Status.FAIL
