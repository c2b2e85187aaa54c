from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from d2ppo_core.bundle import load_bundle
from d2ppo_core.config import PretrainConfig, as_it_was, load_config
from d2ppo_core.errors import ConfigError, ExportError, TrainingError
from d2ppo_core.export import parity
from d2ppo_core.export.fused import FusedPolicy
from d2ppo_core.export.fused_sampler import mish
from d2ppo_core.export.onnx import Exported, bases_of, export_run, to_onnx
from d2ppo_core.export.parity import (
    LIMIT,
    ROUNDING_FACTOR,
    TOLERANCE,
    check_parity,
    open_session,
    random_inputs,
    reference_actions,
)
from d2ppo_core.finetune.runs import load_run
from d2ppo_core.models.policy import ChunkPolicy
from d2ppo_core.objects import recipe_of
from d2ppo_core.pretrain.checkpoint import Checkpoint, load_checkpoint
from d2ppo_core.pretrain.run import pretrain
from d2ppo_core.runtime.inference.policy import Policy
from d2ppo_core.runtime.safety.cell import load_cell

VARIANTS = {
    "state": {"images": False},
    "plain": {"images": True},
    "goals": {"images": False, "data": {"action_representation": "ee_absolute"}},
    "overlap": {"images": True, "model": {"stem": "overlap", "vit_depth": 2}},
}


@pytest.fixture(scope="module")
def runs(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {}


@pytest.fixture(params=VARIANTS)
def run(
    request: pytest.FixtureRequest,
    runs: dict[str, Path],
    dataset: Path,
    tiny_config: Callable[..., PretrainConfig],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A short run of each kind, trained once."""
    name = request.param
    if name not in runs:
        runs[name] = tmp_path_factory.mktemp(name)
        config = tiny_config(optim={"steps": 30, "lr": 3e-3}, **VARIANTS[name])
        pretrain(config, dataset, runs[name], progress=False)
    return runs[name]


@pytest.fixture(scope="module")
def bundles() -> dict[Path, Exported]:
    return {}


def exported(run: Path, dataset: Path, bundles: dict[Path, Exported]) -> Exported:
    """The bundle of a run, made once."""
    if run not in bundles:
        extra = {"success": {"episodes": 3}}
        bundles[run] = export_run(run, run / "bundle", data=dataset, samples=8, extra=extra)
    return bundles[run]


@pytest.fixture(scope="module")
def state_run(
    dataset: Path, tiny_config: Callable[..., PretrainConfig], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    run = tmp_path_factory.mktemp("state") / "run"
    pretrain(tiny_config(optim={"steps": 3}), dataset, run, progress=False)
    return run


@pytest.fixture(scope="module")
def state_graph(state_run: Path) -> bytes:
    """Its graph, made once."""
    saved = load_checkpoint(state_run)
    return to_onnx(FusedPolicy(averaged(state_run), saved.normalizer), saved)


def averaged(folder: Path) -> ChunkPolicy:
    return load_run(folder).policy("ema")


def image_shape(saved: Checkpoint) -> tuple[int, ...] | None:
    shapes = saved.shapes
    return (shapes.num_cameras, *shapes.image_hw, 3) if shapes.num_cameras else None


def test_mish_by_one_exponential_is_mish_and_survives_overflow() -> None:
    x = torch.linspace(-200, 200, 4001)
    torch.testing.assert_close(mish(x), torch.nn.functional.mish(x), atol=2e-6, rtol=1e-5)


def test_the_exported_graph_equals_the_torch_sampler(run: Path, dataset: Path, bundles: dict[Path, Exported]) -> None:
    saved = load_checkpoint(run)
    policy = averaged(run)
    session = open_session((exported(run, dataset, bundles).folder / "policy.onnx").read_bytes())
    drawn = random_inputs(policy, saved.normalizer, image_shape(saved), 20, seed=0)
    report = check_parity(
        session, policy, saved.normalizer, drawn
    )  # the first of the trailing times magnifies rounding
    assert (
        report.max_deviation <= max(TOLERANCE, ROUNDING_FACTOR * report.max_rounding) <= LIMIT and report.samples == 20
    )


def test_a_bundle_loads_in_the_runtime_and_describes_itself(
    run: Path, dataset: Path, bundles: dict[Path, Exported]
) -> None:
    done = exported(run, dataset, bundles)
    bundle = load_bundle(done.folder)
    policy = Policy(bundle)
    golden = bundle.golden
    np.testing.assert_array_equal(policy.infer(golden.inputs), golden.actions[0])
    manifest = bundle.manifest
    representation = load_run(run).config.data.action_representation
    assert (manifest.action.representation, manifest.action.dim) == (representation, golden.actions.shape[2])
    assert manifest.action.frame == {"osc_delta": "base", "ee_absolute": "world"}[representation]
    assert bundle.hash == done.bundle_hash and done.parity.samples == 8
    assert manifest.input_shapes == {name: value.shape for name, value in golden.inputs.items()}
    observed = {spec.key: spec.shape for spec in manifest.observations}
    assert manifest.object_parts == recipe_of("lift", observed.get("object", (0,))[0])
    assert manifest.T_world_base[3::4][:3] == (-0.56, 0.0, 0.912)
    assert manifest.provenance["dataset"]["num_episodes"] == 6
    assert manifest.provenance["training"]["steps"] == 30
    assert manifest.provenance["success"] == {"episodes": 3}


def test_the_bases_of_two_arms_are_where_their_cells_stand() -> None:
    config = load_config("transport_state")
    bases = np.reshape(bases_of(config, 2), (2, 4, 4))
    for base, cell in zip(bases, ("sim_transport_left", "sim_transport_right"), strict=True):
        np.testing.assert_allclose(base, load_cell(cell).T_world_base, atol=1e-12)
    with pytest.raises(ConfigError, match="wanted the bases of 1 arms, .* got 2 places and 2 turns"):
        bases_of(config, 1)


def test_a_run_of_transport_from_before_two_arms_had_bundles_has_its_bases_too() -> None:
    old = {"name": "old", "task": "transport", "deploy": {"base_position_m": [-0.56, 0.0, 0.912]}}
    kept = as_it_was(PretrainConfig, old)["deploy"]["base_position_m"]
    assert tuple(kept) == load_config("transport_image").deploy.base_position_m
    assert as_it_was(PretrainConfig, {**old, "task": "lift"})["deploy"] == old["deploy"]


def test_averaged_weights_are_the_ones_exported(run: Path) -> None:
    saved = load_checkpoint(run)
    found = dict(averaged(run).named_parameters())
    assert all(torch.equal(found[name], value) for name, value in saved.ema.items())
    assert any(not torch.equal(found[name], saved.model[name]) for name in found)


def test_the_graph_names_no_place_of_this_machine(state_graph: bytes) -> None:
    assert str(Path.cwd()).encode() not in state_graph
    onnx.checker.check_model(onnx.load_from_string(state_graph))


def test_a_graph_that_deviates_is_refused(state_run: Path, state_graph: bytes) -> None:
    saved = load_checkpoint(state_run)
    policy = averaged(state_run)
    session = open_session(state_graph)
    with torch.no_grad():
        policy.denoiser.output.bias.add_(1e-3)
    samples = random_inputs(policy, saved.normalizer, None, 5, seed=0)
    with pytest.raises(ExportError, match="deviates by .* in sample [1-5], wanted at most 5e-06"):
        check_parity(session, policy, saved.normalizer, samples)


def test_the_gate_forgives_what_float32_costs_the_policy_and_no_more(
    state_run: Path, state_graph: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parity, "TOLERANCE", 1e-9)
    saved = load_checkpoint(state_run)
    policy = averaged(state_run)
    session = open_session(state_graph)
    report = check_parity(session, policy, saved.normalizer, random_inputs(policy, saved.normalizer, None, 5, seed=0))
    assert 1e-9 < report.max_deviation <= 4 * report.max_rounding < 1e-5
    with torch.no_grad():
        policy.denoiser.output.bias.add_(1e-4)
    with pytest.raises(ExportError, match="wanted at most"):
        check_parity(session, policy, saved.normalizer, random_inputs(policy, saved.normalizer, None, 5, seed=0))


def test_a_gate_without_samples_is_no_gate(state_run: Path, state_graph: bytes) -> None:
    saved = load_checkpoint(state_run)
    policy = averaged(state_run)
    session = open_session(state_graph)
    with pytest.raises(ExportError, match="at least one sample"):
        check_parity(session, policy, saved.normalizer, iter(()))


def test_exporting_nothing_says_how_to_train(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="d2ppo pretrain"):
        export_run(tmp_path, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("weights", ["best", "ema", "raw"])
def test_a_tuned_policy_is_exported_with_the_provenance_of_both_stages(
    make_run: Callable[..., Path], tmp_path: Path, weights: str
) -> None:
    run = make_run(tuned=True)
    done = export_run(run, tmp_path / "bundle", weights=None if weights == "best" else weights, samples=4)
    bundle = load_bundle(tmp_path / "bundle")
    inputs = {name: np.asarray(value) for name, value in bundle.golden.inputs.items()}
    saved = load_run(run).origin
    wanted = reference_actions(load_run(run).policy(weights), saved.normalizer, inputs)
    np.testing.assert_allclose(Policy(bundle).infer(inputs), wanted[0], atol=TOLERANCE)
    found = bundle.manifest.provenance
    assert done.weights == found["export"]["weights"] == weights
    assert found["training"]["commit"] == "c0ffee" and found["finetune"]["commit"] == "decaf"
    assert found["finetune"]["best"] == {"success": 0.9, "iteration": 3}
    hashes = {found["config_sha256"], found["finetune"]["config_sha256"]}
    assert len(hashes) == 2 and all(len(value) == 64 for value in hashes)


def test_what_differed_between_the_worlds_of_fine_tuning_stands_in_the_manifest(
    make_run: Callable[..., Path], tmp_path: Path
) -> None:
    run = make_run(tuned=True, env={"randomisation": {"mass": 0.2, "action_latency_s": 0.01}})
    export_run(run, tmp_path / "bundle", samples=1)
    config = load_bundle(tmp_path / "bundle").manifest.provenance["finetune"]["config"]
    assert (config["env"]["randomisation"]["mass"], config["env"]["randomisation"]["friction"]) == (0.2, 0.0)
    assert config["env"]["randomisation"]["action_latency_s"] == 0.01


def test_a_run_without_evaluation_gives_its_averaged_weights(make_run: Callable[..., Path], tmp_path: Path) -> None:
    assert export_run(make_run(), tmp_path / "bundle", samples=1).weights == "ema"
    with pytest.raises(ConfigError, match="wanted one of ema, raw, got 'best'"):
        export_run(tmp_path / "run", tmp_path / "bundle", weights="best")


def test_a_policy_for_another_task_is_refused(make_run: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="wanted a policy for can, got .*run for lift"):
        export_run(make_run(), tmp_path / "bundle", task="can")
    assert not (tmp_path / "bundle").exists()
