from pathlib import Path
from typing import Any

import pytest
import yaml

from d2ppo_core.config import FinetuneConfig, differences, from_mapping, load_config, load_finetune_config, save_config
from d2ppo_core.errors import ConfigError


def build(**sections: Any) -> FinetuneConfig:
    return from_mapping(FinetuneConfig, {"name": "x", "task": "lift", **sections})


def test_the_defaults_are_the_published_settings_of_lift_from_states() -> None:
    config = build()
    assert (config.env.num_envs, config.env.chunks_per_iteration, config.env.horizon_steps) == (50, 300, 300)
    assert (config.chain.num_denoising_steps, config.chain.finetuned_steps, config.chain.eta) == (20, 10, 1.0)
    assert (config.chain.min_sampling_std, config.chain.min_log_prob_std) == (0.1, 0.1)
    ppo = config.ppo
    assert (ppo.actor_lr, ppo.critic_lr, ppo.minibatch_pairs, ppo.epochs) == (1e-4, 1e-3, 7500, 10)
    assert (ppo.gamma_env, ppo.gae_lambda, ppo.gamma_denoising) == (0.999, 0.95, 0.99)
    assert (ppo.clip_low, ppo.clip_high, ppo.target_kl, ppo.critic_warmup_iterations) == (0.001, 0.01, 1.0, 2)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"algorithm": "trpo"}, "algorithm: wanted one of ppo"),
        ({"device": "tpu"}, "device: wanted one of cpu, cuda, got 'tpu'"),
        ({"iterations": 0}, "iterations: wanted >= 1, got 0"),
        ({"threads": 0}, "threads: wanted >= 1, got 0"),
        ({"seed": -1}, "seed: wanted >= 0, got -1"),
        ({"env": {"num_envs": 0}}, "env.num_envs: wanted >= 1, got 0"),
        ({"chain": {"finetuned_steps": 30}}, "1 <= finetuned_steps <= num_denoising_steps, got 30 and 20"),
        ({"chain": {"eta": 1.5}}, r"chain.eta: wanted in \[0, 1\], got 1.5"),
        ({"chain": {"min_sampling_std": 0}}, "chain.min_sampling_std: wanted > 0, got 0"),
        ({"ppo": {"grouping": "rows"}}, "ppo.grouping: wanted one of pairs, observations, got 'rows'"),
        ({"ppo": {"micro_batch_pairs": 100}}, "wanted ppo.grouping=observations with it, got pairs"),
        ({"ppo": {"minibatch_pairs": 9}}, "ppo.minibatch_pairs: wanted at least chain.finetuned_steps = 10, got 9"),
        ({"ppo": {"steps_per_observation": 11}}, "at most chain.finetuned_steps = 10, got 11"),
        ({"ppo": {"clip_low": 0.1}}, "0 < clip_low <= clip_high < 1, got 0.1 and 0.01"),
        ({"ppo": {"grad_clip_norm": -1}}, "ppo.grad_clip_norm: wanted >= 0, got -1"),
        ({"critic": {"layers": 0}}, "critic.layers: wanted >= 1, got 0"),
        ({"success": {"first_seed": -1}}, "success.first_seed: wanted >= 0, got -1"),
        ({"success": {"stop_at": 1.1}}, r"success.stop_at: wanted in \[0, 1\], got 1.1"),
    ],
)
def test_values_that_cannot_be_are_refused_by_name(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(**sections)


def test_an_unknown_key_is_refused_and_the_allowed_ones_are_listed() -> None:
    with pytest.raises(ConfigError, match=r"finetune.ppo: unknown key clip; allowed: epochs, minibatch_pairs"):
        load_finetune_config("lift_state", ["ppo.clip=0.2"])


def test_one_file_holds_both_stages(tmp_path: Path) -> None:
    path = tmp_path / "both.yaml"
    stages = {"name": "both", "task": "can", "optim": {"steps": 7}, "finetune": {"ppo": {"epochs": 3}}}
    path.write_text(yaml.safe_dump(stages))
    assert load_config(path).optim.steps == 7
    tuned = load_finetune_config(path, ["env.num_envs=4"])
    assert (tuned.name, tuned.task, tuned.ppo.epochs, tuned.env.num_envs) == ("both", "can", 3, 4)


def test_a_section_that_is_no_mapping_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text("name: odd\ntask: can\nfinetune: yes\n")
    with pytest.raises(ConfigError, match="finetune: wanted a mapping, got True"):
        load_finetune_config(path)


def test_what_a_run_saves_is_read_back_equal(tmp_path: Path) -> None:
    config = build(ppo={"epochs": 3}, env={"num_envs": 4}, iterations=5)
    save_config(config, tmp_path / "config.yaml")
    assert load_finetune_config(tmp_path / "config.yaml") == config


def test_differences_are_named_with_both_values() -> None:
    assert differences(build(), build()) == ""
    found = differences(build(), build(ppo={"epochs": 3}, seed=1))
    assert found == "seed 0, now 1; ppo.epochs 10, now 3"
