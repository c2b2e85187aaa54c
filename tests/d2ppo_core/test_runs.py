"""Run folders of both stages."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from d2ppo_core.config import config_hash
from d2ppo_core.errors import ConfigError
from d2ppo_core.finetune.runs import load_run

MakeRun = Callable[..., Path]


def test_each_name_stands_for_its_own_weights(make_run: MakeRun) -> None:
    run = load_run(make_run(tuned=True))
    assert run.finetune is not None
    held = {
        "raw": run.finetune.learner["actor"],
        "ema": run.finetune.learner["ema"],
        "best": run.finetune.best["weights"],
    }
    for name, weights in held.items():
        policy = dict(run.policy(name).named_parameters())
        assert all(torch.equal(policy[key], weights[key]) for key in weights), name
    first = load_run(make_run("first"))
    assert all(torch.equal(value, first.origin.model[key]) for key, value in first.policy("raw").named_parameters())


def test_best_weights_are_preferred_where_there_are_any(make_run: MakeRun) -> None:
    assert load_run(make_run("a", tuned=True)).preferred_weights == "best"
    never = load_run(make_run("b", tuned=True, evaluated=False))
    assert never.preferred_weights == "ema"
    with pytest.raises(ConfigError, match=r"wanted one of ema, raw, got 'best' \(this run was never evaluated\)"):
        never.policy("best")
    assert load_run(make_run("c")).preferred_weights == "ema"


def test_a_tuned_policy_leaves_the_noisiest_steps_to_its_origin(make_run: MakeRun) -> None:
    state, noise = torch.linspace(-1, 1, 19)[None], torch.linspace(-1, 1, 28).reshape(1, 4, 7)
    before, after = (
        load_run(folder).policy("ema", num_denoising_steps=10).sample_chain(state, None, noise)
        for folder in (make_run("before"), make_run("after", tuned=True))
    )
    assert torch.equal(before[:, :6], after[:, :6])
    assert not torch.equal(before[:, 6], after[:, 6])


def test_the_provenance_of_fine_tuning_names_configuration_and_best_evaluation(make_run: MakeRun) -> None:
    run = load_run(make_run(tuned=True))
    assert run.finetune is not None
    found = run.provenance()["finetune"]
    assert found["config"]["chain"]["finetuned_steps"] == 5
    assert found["config_sha256"] == config_hash(run.finetune.config) != config_hash(run.config)
    assert found["best"] == {"success": 0.9, "iteration": 3}
    assert load_run(make_run("first")).provenance() == {}
