"""The times at which a policy denoises: the same for chain, sampler, graph and manifest, in runs of any version."""

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from d2ppo_core.bundle import BUNDLED, load_bundle
from d2ppo_core.config import load_kept_config, save_config
from d2ppo_core.config.finetune import ChainConfig
from d2ppo_core.errors import ConfigError, ExportError, TrainingError
from d2ppo_core.evaluation.policies import open_policies
from d2ppo_core.export.fused import FusedPolicy
from d2ppo_core.export.onnx import export_run, to_onnx
from d2ppo_core.export.parity import TOLERANCE, check_parity, open_session, random_inputs
from d2ppo_core.finetune import checkpoint as finetuned
from d2ppo_core.finetune.runs import Run, load_run
from d2ppo_core.models.build import build_policy
from d2ppo_core.models.chain import DiffusionChain
from d2ppo_core.models.diffusion import DiffusionPolicy
from d2ppo_core.models.schedule import cosine_alpha_bar, denoising_times
from d2ppo_core.pretrain import checkpoint as pretrained

from .finetune.tiny_runs import finetune_config, make_origin, make_trainer, tune

MakeRun = Callable[..., Path]


def diffusion(run: Run, steps: int | None = None) -> DiffusionPolicy:
    policy = run.policy("raw", num_denoising_steps=steps)
    assert isinstance(policy, DiffusionPolicy)
    return policy


def forget(path: Path, *keys: tuple[str, ...]) -> None:
    """Take entries out of a checkpoint, as a version before them wrote it."""
    payload = torch.load(path, weights_only=True)
    for *parents, leaf in keys:
        entries = payload
        for parent in parents:
            entries = entries[parent]
        del entries[leaf]
    torch.save(payload, path)


@pytest.mark.parametrize("times", ["trailing", "leading", "centred"])
@pytest.mark.parametrize(("steps", "tuned"), [(1, 1), (2, 1), (5, 3), (10, 5), (20, 10), (20, 1)])
def test_chain_sampler_and_graph_denoise_at_the_same_times(
    make_run: MakeRun, times: str, steps: int, tuned: int
) -> None:
    run = load_run(make_run()).sampled_at(times)
    policy, wanted = diffusion(run, steps), denoising_times(20, steps, times)
    chain = DiffusionChain(
        diffusion(run, steps), ChainConfig(num_denoising_steps=steps, finetuned_steps=tuned), action_horizon=4
    )
    assert tuple(step.t for step in policy.steps) == tuple(step.t for step in chain.steps) == wanted
    assert tuple(chain.times.tolist()) == wanted[steps - tuned :]
    chain.complete(policy)  # from here on the noisiest steps are another network's
    assert FusedPolicy(policy, run.origin.normalizer).denoising_times == wanted
    if policy.base is not None:
        assert tuple(t for t in wanted if t < policy.tuned_below) == wanted[steps - tuned :]


@pytest.mark.parametrize("times", ["trailing", "leading"])
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_the_log_prob_of_a_drawn_step_is_that_of_its_drawing_even_for_one_step(
    make_run: MakeRun, times: str, steps: int
) -> None:
    policy = diffusion(load_run(make_run()).sampled_at(times), steps)
    chain = DiffusionChain(policy, ChainConfig(num_denoising_steps=steps, finetuned_steps=1), action_horizon=4)
    state = torch.linspace(-1, 1, 3 * 19).reshape(3, 19)
    drawn = chain.sample(state, None, torch.Generator().manual_seed(0))
    again = chain.log_prob(state, drawn.chain[:, 0], drawn.chain[:, 1], torch.zeros(3, dtype=torch.long))
    assert torch.isfinite(drawn.log_prob).all()
    torch.testing.assert_close(again, drawn.log_prob[:, 0], rtol=0, atol=2e-5)


@pytest.mark.parametrize(("times", "steps"), [("trailing", 2), ("leading", 10), ("centred", 1)])
def test_the_graph_of_a_bundle_denoises_at_the_times_of_its_manifest(
    make_run: MakeRun, tmp_path: Path, times: str, steps: int
) -> None:
    folder = make_run(model={"num_denoising_steps": steps})
    export_run(folder, tmp_path / "bundle", weights="raw", times=times, samples=4)
    bundle, policy = load_bundle(tmp_path / "bundle"), diffusion(load_run(folder))
    manifest, inputs = bundle.manifest, bundle.golden.inputs
    assert manifest.denoising_times == denoising_times(20, steps, times)
    assert (manifest.sampler_times, manifest.num_denoising_steps) == (times, steps)
    x, bars = torch.from_numpy(inputs["noise"]).flatten(1).double(), cosine_alpha_bar(20)
    policy, state = policy.double(), torch.from_numpy(inputs["state"]).double()  # its ranges are [-1, 1]
    for t, after in zip(manifest.denoising_times, (*manifest.denoising_times[1:], None), strict=True):
        a, b = bars[t], 1.0 if after is None else bars[after]
        with torch.no_grad():
            eps, _ = policy.denoiser(x, torch.tensor([t]), state)
        x0 = ((x - (1 - a) ** 0.5 * eps) / a**0.5).clamp(-1, 1)
        x = b**0.5 * x0 + (1 - b) ** 0.5 * (x - a**0.5 * x0) / (1 - a) ** 0.5
    found = open_session(bundle.onnx_path.read_bytes()).run(["actions"], inputs)[0]
    np.testing.assert_allclose(found, x.reshape(1, 4, 7).numpy(), atol=2e-5)


@pytest.mark.parametrize("steps", [2, 10])
def test_a_network_that_knows_the_noise_is_not_rounded_worse_in_the_graph_than_in_torch(
    make_run: MakeRun, steps: int
) -> None:
    run = load_run(make_run())
    policy = diffusion(run, steps)
    with torch.no_grad():  # predicts x - 0.002 at all times: the first estimate of x0 is within [-1, 1], not clipped
        for layer in (policy.denoiser.residual_in, policy.denoiser.residual_out, policy.denoiser.input):
            layer.weight.zero_()
            layer.bias.zero_()
        policy.denoiser.input.weight[:16, :16] = torch.eye(16)
        policy.denoiser.output.weight.zero_()
        policy.denoiser.output.weight[:16, :16] = torch.eye(16)
        policy.denoiser.output.bias.fill_(-0.002)
    exact, fused = copy.deepcopy(policy).double(), FusedPolicy(policy, run.origin.normalizer).eval()
    state, noise = torch.zeros(1, 19), torch.randn(200, 1, 4, 7, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = [exact.sample(state.double(), None, draw.double()).flatten()[:16] for draw in noise]
        graph = [fused(state, draw).flatten()[:16] for draw in noise]
        plain = [policy.sample(state, None, draw).flatten()[:16] for draw in noise]
    missed, rounding = (
        max(float((got - exactly).abs().max()) for got, exactly in zip(found, wanted, strict=True))
        for found in (graph, plain)
    )
    assert rounding > 1e-6  # it is such a policy
    assert missed <= 1.1 * rounding


def test_where_float32_misses_the_gate_the_first_trailing_step_is_exported_in_float64(
    make_run: MakeRun, tmp_path: Path
) -> None:
    folder = make_run(model={"num_denoising_steps": 1})
    saved = pretrained.load_checkpoint(folder)
    weights = {name: torch.zeros_like(value) for name, value in saved.ema.items()}
    for layer in ("input", "residual_out", "output"):  # predicts x + 100.3 - 100.3, each sum rounded
        weights[f"denoiser.{layer}.weight"][:16, :16] = torch.eye(16)
    weights["denoiser.residual_in.bias"] += 100.3
    weights["denoiser.residual_out.bias"] -= 100.3
    pretrained.save_checkpoint(dataclasses.replace(saved, ema=weights), folder)
    run = load_run(folder)
    graph = to_onnx(FusedPolicy(run.policy(), run.origin.normalizer), run.origin)
    inputs = random_inputs(run.policy(), run.origin.normalizer, None, 20, 7)
    with pytest.raises(ExportError, match="the exported graph deviates"):
        check_parity(open_session(graph), run.policy(), run.origin.normalizer, inputs)
    done = export_run(folder, tmp_path / "bundle", samples=20)
    assert done.parity.max_deviation < TOLERANCE
    assert load_bundle(tmp_path / "bundle").manifest.provenance["export"]["float64_first_step"] is True


def test_a_run_from_before_the_choice_keeps_its_times(make_run: MakeRun) -> None:
    state, noise = torch.linspace(-1, 1, 19)[None], torch.linspace(-1, 1, 28).reshape(1, 4, 7)
    new, old, tuned = make_run("new"), make_run("old"), make_run("tuned", tuned=True)
    forget(old / pretrained.FILE_NAME, ("config", "model", "sampler_times"))
    forget(
        tuned / finetuned.FILE_NAME,
        ("config", "chain", "sampler_times"),
        ("origin", "config", "model", "sampler_times"),
    )
    assert load_run(new).config.model.sampler_times == "trailing"
    assert load_run(old).config.model.sampler_times == load_run(tuned).config.model.sampler_times == "leading"
    answers = [
        diffusion(run).sample(state, None, noise) for run in (load_run(new).sampled_at("leading"), load_run(old))
    ]
    assert torch.equal(*answers)
    assert not torch.equal(diffusion(load_run(new)).sample(state, None, noise), answers[1])
    found = load_run(tuned).finetune
    assert found is not None and found.config.chain.sampler_times == "leading"


def test_the_file_of_a_run_from_before_the_choice_means_the_old_times(make_run: MakeRun) -> None:
    folder = make_run()
    path = folder / "config.yaml"
    save_config(load_run(folder).config, path)
    mapping = yaml.safe_load(path.read_text())
    del mapping["model"]["sampler_times"]
    path.write_text(yaml.safe_dump(mapping))
    assert load_kept_config(path).model.sampler_times == "leading"
    assert load_kept_config(path, ("model.sampler_times=trailing",)).model.sampler_times == "trailing"


def test_a_bundle_from_before_the_choice_is_known_to_lead() -> None:
    manifest = load_bundle(BUNDLED / "lift_state").manifest
    assert (manifest.sampler_times, manifest.denoising_times) == ("leading", ())


@pytest.mark.parametrize(
    ("name", "own", "other"), [("lift_state", "leading", "trailing"), ("square_state", "trailing", "leading")]
)
def test_a_shipped_bundle_is_opened_at_its_own_times_alone(name: str, own: str, other: str) -> None:
    open_policies(name, own)
    with pytest.raises(ConfigError, match=f"is a bundle that samples at {own} times, wanted {other}: .* export its"):
        open_policies(name, other)


def test_fine_tuning_takes_the_clones_times_or_those_asked_for_and_keeps_them(tmp_path: Path) -> None:
    origin = make_origin(tmp_path)
    leading = make_trainer(origin, chain={"sampler_times": "leading"})
    assert make_trainer(origin).config.chain.sampler_times == "trailing"
    assert leading.origin.config.model.sampler_times == "leading"
    assert [step.t for step in leading.chain.steps] == list(range(18, -1, -2))
    deployed = leading._deployed(leading.chain.policy.state_dict())
    assert isinstance(deployed, DiffusionPolicy) and deployed.steps[0].t == 18
    with pytest.raises(TrainingError, match="chain.sampler_times 'leading', now 'trailing'"):
        make_trainer(origin).restore(leading.checkpoint())


def test_a_fine_tuned_run_is_deployed_at_its_own_times_only(tmp_path: Path) -> None:
    origin = make_origin(tmp_path)
    tune(finetune_config(iterations=1, chain={"sampler_times": "leading"}), origin, tmp_path / "tuned")
    kept = yaml.safe_load((tmp_path / "tuned" / "config.yaml").read_text())
    assert kept["finetune"]["chain"]["sampler_times"] == "leading"
    said = "was fine-tuned at leading sampler times, wanted trailing: leave them out, or fine-tune its clone again"
    with pytest.raises(ConfigError, match=said):
        export_run(tmp_path / "tuned", tmp_path / "bundle", times="trailing")
    with pytest.raises(ConfigError, match=said):
        open_policies(tmp_path / "tuned", "trailing")
    assert not (tmp_path / "bundle").exists()
    assert open_policies(origin, "leading").record()["sampler_times"] == "leading"
    assert open_policies(origin).record()["sampler_times"] == "trailing"


def test_a_run_is_exported_in_as_many_steps_as_asked_for_where_it_can_take_them(
    make_run: MakeRun, tmp_path: Path
) -> None:
    clone, tuned = make_run("clone"), make_run("tuned", tuned=True)  # in 10 steps
    for run in (clone, tuned):
        export_run(run, tmp_path / "bundle", steps=2, samples=4)
        manifest = load_bundle(tmp_path / "bundle").manifest
        assert (manifest.num_denoising_steps, manifest.denoising_times) == (2, denoising_times(20, 2, "trailing"))
    export_run(clone, tmp_path / "bundle", steps=4, samples=4)
    with pytest.raises(ConfigError, match="tuned was fine-tuned in 10 denoising steps, wanted 4: take a divisor, or"):
        export_run(tuned, tmp_path / "bundle", steps=4)
    with pytest.raises(ConfigError, match="wanted a divisor of the 20 training steps, got 3 steps"):
        export_run(clone, tmp_path / "bundle", steps=3)
    with pytest.raises(ConfigError, match="is a gaussian policy, which has no denoising steps"):
        export_run(make_run("other", model={"kind": "gaussian"}), tmp_path / "bundle", steps=2)
    assert load_bundle(tmp_path / "bundle").manifest.num_denoising_steps == 4


def test_a_chain_at_other_times_than_its_policy_is_refused(make_run: MakeRun) -> None:
    run = load_run(make_run())
    policy = build_policy(run.config, run.origin.shapes)
    assert isinstance(policy, DiffusionPolicy)
    config = ChainConfig(num_denoising_steps=10, finetuned_steps=5, sampler_times="leading")
    with pytest.raises(ValueError, match="wanted trailing times as the policy has, got leading"):
        DiffusionChain(policy, config, action_horizon=4)
