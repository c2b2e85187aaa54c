"""Pictures whose sides the encoder cannot cut, the whole way: data, training, export, run time."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from d2ppo_core.bundle import load_bundle
from d2ppo_core.config import DataConfig, PretrainConfig
from d2ppo_core.data.image_fit import fit_of
from d2ppo_core.data.windows import load_windows
from d2ppo_core.evaluation.policies import RunFolder, open_policies
from d2ppo_core.evaluation.samplers import Sampler
from d2ppo_core.export.fused import FusedFit
from d2ppo_core.export.onnx import export_run
from d2ppo_core.pretrain.checkpoint import from_payload, load_checkpoint, to_payload
from d2ppo_core.pretrain.run import pretrain
from d2ppo_core.runtime.inference.policy import Policy

FITS = [("pad", (), (21, 30)), ("crop", (), (21, 30)), ("resize", (16, 24), (45, 60))]


@pytest.mark.parametrize(("how", "size", "camera_hw"), FITS)
def test_the_graphs_fit_is_that_of_training_to_the_bit(how: str, size: tuple[int, ...], camera_hw: tuple) -> None:
    fit = fit_of(DataConfig(image_fit=how, image_size_px=size), camera_hw)
    images = np.random.default_rng(0).integers(0, 256, (1, 2, *camera_hw, 3), dtype=np.uint8)
    assert np.array_equal(FusedFit(fit)(torch.from_numpy(images)).numpy(), fit.apply(images))


@pytest.mark.parametrize(("how", "size", "camera_hw"), FITS)
def test_a_policy_of_odd_pictures_trains_exports_and_runs_on_the_cameras_pictures(
    how: str,
    size: tuple[int, ...],
    camera_hw: tuple[int, int],
    make_dataset: Callable[[tuple[int, int]], Path],
    tiny_config: Callable[..., PretrainConfig],
    tmp_path: Path,
) -> None:
    data, run = make_dataset(camera_hw), tmp_path / "run"
    config = tiny_config(images=True, data={"image_fit": how, "image_size_px": list(size), "random_shift_px": 1})
    pretrain(config, data, run, progress=False)
    fit = fit_of(config.data, camera_hw)
    shapes = load_checkpoint(run).shapes
    assert (shapes.camera_hw, shapes.image_hw) == (camera_hw, fit.image_hw)

    export_run(run, tmp_path / "bundle", data=data, samples=20)  # the gate compares with torch on fitted pictures
    manifest = load_bundle(tmp_path / "bundle").manifest
    (camera,) = manifest.image_observations
    assert (camera.shape, camera.fit) == ((*camera_hw, 3), str(fit))

    windows, _ = load_windows(data, config.data, fit=False)
    noise = np.random.default_rng(0).standard_normal((1, 4, 7), dtype=np.float32)
    inputs = {"state": windows.state[:1], "images": windows.images[:1], "noise": noise}
    on_robot = Policy(load_bundle(tmp_path / "bundle")).infer(inputs)
    obs = {"robot0_eye_in_hand_image": windows.images[:1, 0], **split(windows.state[:1])}
    for folder in (run, tmp_path / "bundle"):
        policies = open_policies(folder)
        sampler: Sampler = policies.sampler(policies.variants()[0])
        np.testing.assert_allclose(sampler(obs, noise[None])[0], on_robot.clip(-1, 1), atol=1e-5)
    assert isinstance(open_policies(run), RunFolder)


def split(state: np.ndarray) -> dict[str, np.ndarray]:
    keys, ends = ("robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos"), (3, 7)
    return dict(zip(keys, np.split(state, ends, axis=1), strict=True))


def test_a_checkpoint_from_before_pictures_were_fitted_still_loads(
    dataset: Path, tiny_config: Callable[..., PretrainConfig], tmp_path: Path
) -> None:
    pretrain(tiny_config(images=True), dataset, tmp_path, progress=False)
    payload = to_payload(load_checkpoint(tmp_path))
    payload["shapes"] = payload["shapes"][:5]
    for key in ("image_fit", "image_size_px"):
        del payload["config"]["data"][key]
    shapes = from_payload(payload).shapes
    assert shapes.camera_hw == shapes.image_hw == (24, 24)
