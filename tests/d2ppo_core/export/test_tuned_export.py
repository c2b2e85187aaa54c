"""Bundles of fine-tuned policies: two networks in one graph where the origin still denoises the noisiest steps."""

from pathlib import Path

import numpy as np
import pytest

from d2ppo_core.bundle import load_bundle
from d2ppo_core.export.fused import FusedPolicy
from d2ppo_core.export.onnx import export_run
from d2ppo_core.export.parity import LIMIT, ROUNDING_FACTOR, TOLERANCE, random_inputs, reference_actions
from d2ppo_core.finetune.runs import load_run
from d2ppo_core.runtime.inference.policy import Policy

from ..finetune.tiny_runs import finetune_config, make_origin, tune

CHAINS = {"ddpm-20/10": (20, 10, 2), "ddim-10/5": (10, 5, 2), "ddim-5/5": (5, 5, 1)}


@pytest.mark.parametrize(
    ("images", "chain", "times"),
    [
        (False, "ddpm-20/10", "leading"),
        (False, "ddpm-20/10", "trailing"),
        (True, "ddim-10/5", "trailing"),
        (False, "ddim-5/5", "leading"),
    ],
    ids=str,
)
def test_a_fine_tuned_policy_becomes_a_bundle_within_the_tolerance(
    tmp_path: Path, images: bool, chain: str, times: str
) -> None:
    steps, tuned, networks = CHAINS[chain]
    config = finetune_config(
        iterations=2,
        chain={"num_denoising_steps": steps, "finetuned_steps": tuned, "sampler_times": times},
        ppo={"actor_lr": 1e-2},
        success={"every_iterations": 9},
    )
    origin = make_origin(tmp_path, images=images)
    tune(config, origin, tmp_path / "tuned")
    run = load_run(tmp_path / "tuned")
    assert len(FusedPolicy(run.policy("raw"), run.origin.normalizer).stages) == networks

    done = export_run(tmp_path / "tuned", tmp_path / "bundle", samples=30, weights="raw")
    # The first trailing step divides by the root of almost no signal, so float32 costs plain torch as much there.
    excuse = ROUNDING_FACTOR * done.parity.max_rounding if times == "trailing" else 0.0
    assert done.parity.max_deviation <= min(max(TOLERANCE, excuse), LIMIT)
    bundle = load_bundle(tmp_path / "bundle")
    assert bundle.manifest.num_denoising_steps == min(steps, 10)
    assert bundle.manifest.provenance["finetune"]["iterations"] == 2
    answer = Policy(bundle)
    saved, before = run.origin, load_run(origin)
    shape = (1, 16, 16, 3) if images else None
    changes = []
    for inputs in random_inputs(run.policy("raw"), saved.normalizer, shape, 5, seed=3):
        got = saved.normalizer.action.normalize(answer.infer(inputs))
        np.testing.assert_allclose(got, reference_actions(run.policy("raw"), saved.normalizer, inputs)[0], atol=1e-4)
        changes.append(np.abs(got - reference_actions(before.policy(), saved.normalizer, inputs)[0]).max())
    assert max(changes) > 1e-3  # it is not the origin that was exported
