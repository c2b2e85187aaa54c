"""Which policies a folder holds, and that the right ones are taken."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from d2ppo_core.bundle import BUNDLED
from d2ppo_core.errors import BundleError, ConfigError, TrainingError
from d2ppo_core.evaluation.noise import chunk_noise
from d2ppo_core.evaluation.policies import open_policies
from d2ppo_core.evaluation.samplers import Variant

LIFT = ("robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos", "object")
MakeRun = Callable[..., Path]


def observation(count: int = 3) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {key: rng.normal(size=(count, size)) for key, size in zip(LIFT, (3, 4, 2, 10), strict=True)}


def answer(folder: Path, **variant: object) -> np.ndarray:
    """Chunks of one of a folder's policies to the same observations and noise."""
    policies = open_policies(folder)
    sampler = policies.sampler(Variant(**{"weights": "ema", "sampling": "deterministic", **variant}))
    return sampler(observation(), np.stack([chunk_noise(seed, 0, sampler.noise_shape) for seed in range(3)]))


def test_a_pretrained_run_offers_averaged_and_raw_weights(make_run: MakeRun) -> None:
    policies = open_policies(make_run())
    assert policies.variants() == (Variant(weights="ema", sampling="deterministic", num_denoising_steps=10),)
    table = [(v.weights, v.sampling, v.num_denoising_steps) for v in policies.ladder()]
    rows = [("deterministic", k) for k in (1, 2, 5, 10, 20)] + [("stochastic", 20)]
    assert table == [(weights, *row) for weights in ("ema", "raw") for row in rows]


def test_a_tuned_run_prefers_its_best_weights_and_explores_as_it_was_tuned(make_run: MakeRun) -> None:
    policies = open_policies(make_run(tuned=True))
    assert [v.weights for v in policies.variants()] == ["best"]
    assert [v.num_denoising_steps for v in policies.variants(samplings=["stochastic"])] == [10]
    assert {v.weights for v in policies.ladder()} == {"ema", "raw", "best"}
    assert {v.weights for v in policies.ladder(["raw"])} == {"raw"}


def test_a_tuned_run_that_was_never_evaluated_has_no_best_weights(make_run: MakeRun) -> None:
    policies = open_policies(make_run(tuned=True, evaluated=False))
    assert [v.weights for v in policies.variants()] == ["ema"]
    with pytest.raises(ConfigError, match=r"weights: wanted one of ema, raw \(.*\), got 'best'"):
        policies.variants(["best"])


def test_everything_asked_for_comes_in_every_combination(make_run: MakeRun) -> None:
    variants = open_policies(make_run()).variants(["raw", "ema"], ["deterministic", "stochastic"], [1, 5])
    assert len(set(variants)) == 8 and variants[0].weights == "raw"


def test_each_kind_of_weights_sampling_and_steps_answers_otherwise(make_run: MakeRun) -> None:
    run = make_run(tuned=True)
    usual = answer(run, num_denoising_steps=10)
    assert usual.shape == (3, 4, 7) and usual.dtype == np.float32 and np.abs(usual).max() <= 1
    np.testing.assert_array_equal(usual, answer(run, num_denoising_steps=10))
    others = [{"weights": "raw"}, {"weights": "best"}, {"sampling": "stochastic"}, {"num_denoising_steps": 5}]
    for change in others:
        assert np.abs(answer(run, **{"num_denoising_steps": 10, **change}) - usual).max() > 1e-3, change


def test_a_gaussian_policy_has_no_denoising_steps(make_run: MakeRun) -> None:
    folder = make_run(model={"kind": "gaussian"})
    policies = open_policies(folder)
    assert policies.variants() == (Variant(weights="ema", sampling="deterministic", num_denoising_steps=0),)
    assert [(v.weights, v.sampling) for v in policies.ladder()] == [
        (weights, sampling) for weights in ("ema", "raw") for sampling in ("deterministic", "stochastic")
    ]
    with pytest.raises(ConfigError, match="holds a gaussian policy without any, got 10"):
        policies.variants(steps=[10])
    mean, drawn = (answer(folder, sampling=s, num_denoising_steps=0) for s in ("deterministic", "stochastic"))
    assert mean.shape == (3, 4, 7) and 0.01 < np.abs(drawn - mean).max() < 1


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"weights": ["median"]}, "weights: wanted one of ema, raw .*, got 'median'"),
        ({"samplings": ["greedy"]}, "sampling: wanted one of deterministic, stochastic, got 'greedy'"),
        ({"steps": [3]}, r"wanted K that divides T = 20 \(.*\), got 3"),
        ({"steps": [0]}, "got 0"),
    ],
)
def test_what_a_run_does_not_hold_is_refused(make_run: MakeRun, wish: dict[str, list[str]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_policies(make_run()).variants(**wish)


def test_policies_of_another_task_or_with_other_eyes_are_refused(make_run: MakeRun) -> None:
    policies = open_policies(make_run())
    policies.check("lift", LIFT)
    with pytest.raises(ConfigError, match="wanted a policy for can, got .*run for lift"):
        policies.check("can", LIFT)
    with pytest.raises(ConfigError, match="reads object; the worlds show robot0_eef_pos"):
        policies.check("lift", LIFT[:3])


def test_a_bundle_holds_one_policy() -> None:
    policies = open_policies("lift_image")
    assert policies.task == "lift" and policies.image_hw == (96, 96)
    only = Variant(weights="bundle", sampling="deterministic", num_denoising_steps=10)
    assert policies.variants() == policies.variants(["bundle"], steps=[10]) == (only,)
    with pytest.raises(ConfigError, match=r"is a bundle, which holds one policy: deterministic, K = 10"):
        policies.variants(["raw"])
    with pytest.raises(ConfigError, match="run folder for the ladder"):
        policies.ladder()


def test_a_bundle_repeats_its_golden_example_for_every_row() -> None:
    policies = open_policies("lift_image")
    golden = policies._bundle.golden  # type: ignore[attr-defined]
    state = golden.inputs["state"]
    obs = {
        key: np.repeat(state[:, at : at + size], 2, axis=0)
        for key, at, size in zip(LIFT[:3], (0, 3, 7), (3, 4, 2), strict=True)
    }
    obs["robot0_eef_quat"][1] *= -1  # the same rotation
    obs["robot0_eye_in_hand_image"] = np.repeat(golden.inputs["images"][:, 0], 2, axis=0)
    chunks = policies.sampler(policies.variants()[0])(obs, np.repeat(golden.inputs["noise"][None], 2, axis=0))
    np.testing.assert_allclose(chunks, np.repeat(golden.actions, 2, axis=0).clip(-1, 1), atol=1e-5)


def test_a_folder_that_is_neither_run_nor_bundle_is_refused(make_run: MakeRun, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere: wanted a run folder, a bundle folder or a shipped bundle's name"):
        open_policies(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"wanted a run folder \(checkpoint.pt or finetune.pt\) or a bundle"):
        open_policies(tmp_path)
    run = make_run()
    (run / "checkpoint.pt").write_bytes(b"nothing")
    with pytest.raises(TrainingError, match="not a readable checkpoint"):
        open_policies(run)
    bundle = tmp_path / "bundle"
    shutil.copytree(BUNDLED / "lift_image", bundle)
    (bundle / "golden.npz").unlink()
    with pytest.raises(BundleError, match="misses golden.npz"):
        open_policies(bundle)
