"""Configurations that older versions left: what trained a run is kept, translated or named as gone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from d2ppo_core.config import PretrainConfig, as_it_was, from_mapping, gone, load_kept_config, to_mapping
from d2ppo_core.errors import ConfigError, TrainingError
from d2ppo_core.finetune.runs import load_run
from d2ppo_core.pretrain.checkpoint import FILE_NAME, load_checkpoint
from d2ppo_core.pretrain.run import pretrain

OLD = {
    "dispersive": "infonce_l2", "dispersive_tap": "early", "dispersive_weight": 0.5, "weight_mode": "fixed",
    "balance": 0.1, "balance_decay": 0.99, "weight_limit": 100.0, "auto_tap_steps": 500, "temperature": 0.5,
    "margin": 1.0, "official": False, "noise_samples_per_obs": 1,
}  # fmt: skip
"""The section `loss` as the version before wrote it."""


def older(**loss: Any) -> dict[str, Any]:
    mapping = to_mapping(PretrainConfig(name="a", task="lift"))
    return mapping | {"loss": OLD | loss}


@pytest.mark.parametrize(
    ("loss", "form", "tap"),
    [
        ({}, "raw", "early"),
        ({"official": True, "dispersive_tap": "late"}, "published", "late"),
        ({"dispersive": "none", "dispersive_tap": "auto"}, "raw", "early"),
    ],
)
def test_what_is_still_there_is_translated(loss: dict[str, Any], form: str, tap: str) -> None:
    config = from_mapping(PretrainConfig, as_it_was(PretrainConfig, older(**loss)))
    assert (config.loss.dispersive_form, config.loss.dispersive_tap) == (form, tap)
    assert gone(older(**loss)) == gone(to_mapping(config)) == ()


@pytest.mark.parametrize(
    ("loss", "named"),
    [
        ({"weight_mode": "balanced"}, "loss.weight_mode=balanced"),
        ({"dispersive_tap": "all"}, "loss.dispersive_tap=all"),
        ({"dispersive_tap": "auto", "weight_mode": "balanced"}, "loss.weight_mode=balanced, loss.dispersive_tap=auto"),
    ],
)
def test_what_is_gone_is_named_and_the_run_only_loads(
    dataset: Path, tiny_config: Callable[..., PretrainConfig], tmp_path: Path, loss: dict[str, Any], named: str
) -> None:
    run = tmp_path / "run"
    pretrain(tiny_config(optim={"steps": 1}), dataset, run, progress=False)
    kept = run / "config.yaml"
    mapping = yaml.safe_load(kept.read_text()) | {"loss": OLD | loss}
    kept.write_text(yaml.safe_dump(mapping))
    payload = torch.load(run / FILE_NAME, weights_only=True)
    payload["config"] = mapping
    del payload["gone"]
    torch.save(payload, run / FILE_NAME)
    assert load_run(run).policy().pred_horizon == 4
    assert ", ".join(load_checkpoint(run).gone) == named
    said = f"trained with {named}, which is no more: it can be measured, exported and fine-tuned, but not gone on with"
    with pytest.raises(ConfigError, match=said):
        load_kept_config(kept)
    with pytest.raises(TrainingError, match=said):
        pretrain(tiny_config(optim={"steps": 2}), dataset, run, resume=True, progress=False)
