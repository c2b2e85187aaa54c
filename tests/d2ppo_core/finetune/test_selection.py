"""The best weights are selected in some episodes and measured in others, none of which belong to published results."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from d2ppo_core.config import from_mapping, load_finetune_config
from d2ppo_core.config.success import RESULT_SEEDS, SuccessConfig
from d2ppo_core.envs import AutoresetMode
from d2ppo_core.errors import ConfigError
from d2ppo_core.experiments.settings import FIRST_SEED, Settings
from d2ppo_core.finetune.checkpoint import load_checkpoint
from d2ppo_core.finetune.runs import load_run
from d2ppo_core.finetune.trainer import Trainer

from .test_run import assert_same_run, tensors
from .tiny_runs import finetune_config, make_trainer, tune
from .tiny_task import PointEnv

CONFIRM = {"episodes": 8, "every_iterations": 1, "confirm_episodes": 12}


@pytest.mark.parametrize("task", ["lift", "can", "square", "transport"])
@pytest.mark.parametrize("section", ["finetune", "published"])
@pytest.mark.parametrize("kind", ["state", "image"])
def test_selection_confirmation_and_results_share_no_episode(task: str, section: str, kind: str) -> None:
    success = load_finetune_config(f"{task}_{kind}", section=section).success
    results = range(FIRST_SEED, FIRST_SEED + Settings(experiment="x", out="y").episodes)
    assert results == RESULT_SEEDS == range(1000, 1200)
    sets = [set(success.selection_seeds), set(success.confirmation_seeds), set(results)]
    assert len(set.union(*sets)) == sum(map(len, sets)) and all(sets)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"first_seed": 1100},
            "success.first_seed=1100: wanted seeds apart from those of published results, both",
        ),
        ({"confirm_first_seed": 900}, "success.confirm_first_seed=900: wanted seeds apart from those of published"),
        (
            {"confirm_first_seed": 1_000_099},
            "success.first_seed=1000000: wanted seeds apart from success.confirm_first_seed=1000099, both hold 1000099",
        ),
        ({"confirm_episodes": -1}, "success.confirm_episodes: wanted >= 0, got -1"),
    ],
)
def test_episodes_that_would_count_twice_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_mapping(SuccessConfig, values)


def test_a_finished_run_measures_what_it_selected_in_other_episodes(origin: Path, tmp_path: Path) -> None:
    outcome = tune(finetune_config(iterations=2, success=CONFIRM), origin, tmp_path)
    saved = load_checkpoint(tmp_path)
    assert saved.best["confirmed"] == outcome.confirmed and saved.best["confirmed_episodes"] == 12
    trainer = make_trainer(origin, iterations=2, success=CONFIRM)
    trainer.restore(saved)
    trainer.best = {key: value for key, value in trainer.best.items() if not key.startswith("confirmed")}
    env = PointEnv(8, autoreset_mode=AutoresetMode.DISABLED, terminate_on_success=True)
    trainer.confirm(env)
    assert trainer.best["confirmed"] == outcome.confirmed
    assert load_run(tmp_path).provenance()["finetune"]["best"]["confirmed"] == outcome.confirmed


def test_only_selected_weights_are_confirmed_and_only_once(origin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(origin, success=CONFIRM)
    asked: list[tuple[range, dict[str, torch.Tensor]]] = []

    class Found:
        success_rate = 0.25

    def measure(self: Trainer, env: object, weights: dict[str, torch.Tensor], seeds: range, progress: object) -> Found:
        asked.append((seeds, weights))
        return Found()

    monkeypatch.setattr(Trainer, "_measure", measure)
    trainer.confirm(PointEnv())
    assert not asked  # nothing was selected
    trainer.take_best(0.5)
    for _ in range(2):
        trainer.iterate()
    for _ in range(2):
        trainer.confirm(PointEnv())
    assert [seeds for seeds, _ in asked] == [range(2_000_000, 2_000_012)]
    assert asked[0][1] is trainer.best["weights"] and trainer.best["confirmed"] == 0.25
    trainer.take_best(0.6)  # others: to be measured anew
    assert "confirmed" not in trainer.best


def test_a_run_that_goes_on_confirms_what_it_selects_in_the_end(origin: Path, tmp_path: Path) -> None:
    config = finetune_config(success=CONFIRM)
    tune(config, origin, tmp_path / "whole")
    first = tune(replace(config, iterations=1), origin, tmp_path / "parts")
    assert not math.isnan(first.confirmed)
    last = tune(config, origin, tmp_path / "parts", resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    one, other = (load_checkpoint(tmp_path / name).best for name in ("whole", "parts"))
    assert one["confirmed"] == other["confirmed"] == last.confirmed and len(tensors(one)) > 5


def test_none_is_confirmed_where_none_is_wanted(origin: Path, tmp_path: Path) -> None:
    outcome = tune(finetune_config(iterations=1, success={"confirm_episodes": 0}), origin, tmp_path)
    assert math.isnan(outcome.confirmed) and not np.isnan(outcome.success)
    assert "confirmed" not in load_checkpoint(tmp_path).best
