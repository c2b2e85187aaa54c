"""`d2ppo finetune` as a user calls it, in two small batched worlds, and the worlds that it builds."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from d2ppo_core.config import FinetuneConfig, from_mapping, load_finetune_config
from d2ppo_core.envs import AutoresetMode
from d2ppo_core.errors import ConfigError, TrainingError
from d2ppo_core.finetune.checkpoint import load_checkpoint
from sim.cli.finetune import finetune, worlds_of

MakeRun = Callable[..., Path]
SMALL = {
    "threads": 1,
    "iterations": 2,
    "env": {"num_envs": 2, "chunks_per_iteration": 2, "horizon_steps": 8, "threads": 1},
    "chain": {"num_denoising_steps": 10, "finetuned_steps": 5},
    "ppo": {"epochs": 1, "minibatch_pairs": 20, "critic_warmup_iterations": 1},
    "critic": {"hidden_dim": 8},
    "success": {"episodes": 1, "every_iterations": 2, "confirm_episodes": 1},
}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A configuration file of a run of seconds."""
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump({"name": "small", "task": "lift", "finetune": SMALL}))
    return path


def call(*arguments: object) -> Result:
    return CliRunner().invoke(finetune, [str(argument) for argument in arguments])


def test_it_tunes_in_batched_worlds_and_says_what_is_next(make_run: MakeRun, small: Path, tmp_path: Path) -> None:
    out = tmp_path / "tuned"
    result = call("lift", "--config", small, "--origin", make_run(), "--out", out)
    assert result.exit_code == 0, result.exception
    assert f"{out}: finished after 2 iterations, 32 control steps" in result.stdout
    assert "in 1 others (selected by " in result.stdout and f"next: d2ppo evaluate lift {out}" in result.stdout
    saved = load_checkpoint(out)
    assert saved.iteration == 2 and saved.config == load_finetune_config(small).at_times_of(saved.origin.config)
    assert saved.origin.code == {"commit": "c0ffee"}
    again = call("lift", "--out", out, "--resume", "--set", "iterations=3")  # else by its own configuration
    assert again.exit_code == 0, again.exception
    assert load_checkpoint(out).iteration == 3
    whole = ("--config", small, "--out", out, "--resume")  # the override from before still holds
    assert call("lift", *whole).exit_code == 0 and load_finetune_config(out / "config.yaml").iterations == 3
    more = call("lift", *whole, "--set", "finetune.iterations=4")  # as d2ppo experiment spells it
    assert more.exit_code == 0 and load_checkpoint(out).iteration == 4
    other = call("lift", *whole, "--set", "seed=9")
    assert isinstance(other.exception, TrainingError) and "(seed 0, now 9)" in str(other.exception)


def test_without_names_the_folders_follow_the_configuration(
    make_run: MakeRun, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    make_run("small").rename(tmp_path / "runs" / "small")
    result = call("lift", "--config", small, "--set", "iterations=1")
    assert result.exit_code == 0, result.exception
    assert load_checkpoint(tmp_path / "runs" / "small_tuned").iteration == 1


def test_what_cannot_be_is_one_line(make_run: MakeRun, small: Path, tmp_path: Path) -> None:
    origin = make_run()
    options = ("--config", small, "--origin", origin, "--out", tmp_path / "out")
    cases = [
        (call("can", *options), ConfigError, "small: wanted a configuration for can, got one for lift"),
        (call("lift", *options, "--set", "ppo.lr=1"), ConfigError, "finetune.ppo: unknown key lr; allowed: epochs"),
        (call("lift", *options, "--resume"), TrainingError, "no checkpoint"),
        (call("lift", "--config", small, "--origin", tmp_path), TrainingError, "no checkpoint.pt"),
        (call("lift", *options, "--set", "env.num_envs=0"), ConfigError, "env.num_envs: wanted >= 1, got 0"),
        (call("lift", *options, "--set", "chain.num_denoising_steps=7"), ConfigError, "wanted a divisor of the 20"),
    ]
    for result, kind, message in cases:
        assert isinstance(result.exception, kind), result.exception
        assert message in str(result.exception) and "\n" not in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_a_policy_of_another_task_is_refused(make_run: MakeRun, small: Path, tmp_path: Path) -> None:
    origin = make_run("other", task="can")
    result = call("lift", "--config", small, "--origin", origin, "--out", tmp_path / "out")
    assert isinstance(result.exception, ConfigError)
    assert "wanted a policy for lift, got one for can" in str(result.exception)


def test_pictures_have_the_size_that_the_policy_was_trained_with() -> None:
    config = from_mapping(FinetuneConfig, {"name": "x", "task": "lift", **SMALL})
    for size_px, shape in ((0, ()), (32, (32, 32, 3)), ((24, 40), (24, 40, 3))):
        env = worlds_of(config, image_size_px=size_px)(AutoresetMode.SAME_STEP)
        try:
            shown = {key: box.shape for key, box in env.single_observation_space.items() if key.endswith("_image")}
        finally:
            env.close()
        assert shown == ({"robot0_eye_in_hand_image": shape} if shape else {})


def test_worlds_take_the_actions_that_the_policy_was_trained_to_give() -> None:
    config = from_mapping(FinetuneConfig, {"name": "x", "task": "lift", **SMALL})
    for mode in AutoresetMode:
        with worlds_of(config, image_size_px=0, action_representation="ee_absolute")(mode) as env:
            assert env.single_action_space.shape == (10,)


def randomised(**randomisation: float) -> FinetuneConfig:
    env = {"num_envs": 3, "horizon_steps": 40, "threads": 1, "randomisation": randomisation}
    success = {"episodes": 2}
    return from_mapping(FinetuneConfig, {"name": "lift", "task": "lift", "env": env, "success": success})


def test_training_worlds_differ_as_configured_and_evaluation_keeps_to_robosuites():
    make = worlds_of(randomised(mass=0.2, gain=0.1), image_size_px=0)
    with make(AutoresetMode.SAME_STEP) as training, make(AutoresetMode.DISABLED) as evaluation:
        assert training.metadata["randomisation"] == {"mass": 0.2, "gain": 0.1}
        assert evaluation.metadata["randomisation"] == {}
        assert (training.num_envs, evaluation.num_envs) == (3, 2)
        assert (training.terminate_on_success, evaluation.terminate_on_success) == (False, True)
        assert training.metadata["horizon_steps"] == evaluation.metadata["horizon_steps"] == 40


@pytest.mark.parametrize(
    ("switches", "message"),
    [
        ({"mass": -0.1}, r"env.randomisation.mass: wanted within \[0, 0.9\], got -0.1"),
        ({"action_latency_s": 0.2}, r"action_latency_s: wanted within \[0, 0.048\], got 0.2"),
        ({"masss": 0.1}, "env.randomisation: unknown key masss; allowed: mass"),
    ],
)
def test_worlds_that_cannot_be_are_refused(switches, message):
    with pytest.raises(ConfigError, match=message):
        worlds_of(randomised(**switches), image_size_px=0)
