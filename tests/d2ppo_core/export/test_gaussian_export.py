from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from d2ppo_core.bundle import load_bundle
from d2ppo_core.config import PretrainConfig
from d2ppo_core.export.onnx import export_run
from d2ppo_core.export.parity import TOLERANCE, open_session, random_inputs, reference_actions
from d2ppo_core.finetune.runs import load_run
from d2ppo_core.pretrain.checkpoint import load_checkpoint
from d2ppo_core.pretrain.run import pretrain
from d2ppo_core.runtime.inference.policy import Policy


@pytest.mark.parametrize("images", [False, True], ids=["state", "image"])
def test_a_gaussian_policy_becomes_a_bundle_that_answers_its_mean(
    dataset: Path, tiny_config: Callable[..., PretrainConfig], tmp_path: Path, images: bool
) -> None:
    config = tiny_config(
        images=images, model={"kind": "gaussian", "gaussian": {"learn_std": True}}, optim={"steps": 20, "lr": 3e-3}
    )
    pretrain(config, dataset, tmp_path / "run", progress=False)
    done = export_run(tmp_path / "run", tmp_path / "bundle", data=dataset, samples=8)
    assert done.parity.max_deviation <= TOLERANCE
    bundle = load_bundle(tmp_path / "bundle")
    manifest = bundle.manifest
    assert (manifest.sampler, manifest.num_denoising_steps) == ("gaussian_mean_clip", 0)
    assert manifest.provenance["config"]["model"]["kind"] == "gaussian"
    policy = Policy(bundle)  # compares signature and golden example
    inputs = {name: np.array(value) for name, value in bundle.golden.inputs.items()}
    inputs["noise"] = inputs["noise"] + 1
    np.testing.assert_array_equal(policy.infer(inputs), bundle.golden.actions[0])


def test_another_observation_gets_another_answer(
    dataset: Path, tiny_config: Callable[..., PretrainConfig], tmp_path: Path
) -> None:
    pretrain(tiny_config(model={"kind": "gaussian"}), dataset, tmp_path / "run", progress=False)
    export_run(tmp_path / "run", tmp_path / "bundle", samples=2)
    saved = load_checkpoint(tmp_path / "run")
    policy = load_run(tmp_path / "run").policy("ema")
    session = open_session((tmp_path / "bundle" / "policy.onnx").read_bytes())
    one, other = random_inputs(policy, saved.normalizer, None, 2, seed=5)
    answers = [session.run(["actions"], inputs)[0] for inputs in (one, other)]
    wanted = [saved.normalizer.action.denormalize(reference_actions(policy, saved.normalizer, i)) for i in (one, other)]
    np.testing.assert_allclose(answers, wanted, atol=1e-5)
    assert not np.allclose(answers[0], answers[1], atol=1e-3)
