"""Both stages, end to end: a policy cloned from careless demonstrations learns to do better than they did."""

from pathlib import Path

import pytest
from scipy.stats import fisher_exact

from d2ppo_core.envs import AutoresetMode
from d2ppo_core.envs.episodes import run_episodes
from d2ppo_core.finetune.run import finetune
from d2ppo_core.finetune.runs import load_run
from d2ppo_core.finetune.trainer import Actor, observer_of
from d2ppo_core.pretrain.run import pretrain

from .tiny_runs import finetune_config, pretrain_config, tune
from .tiny_task import PointEnv, demonstrate, worlds

EPISODES = 300


def solved(run_folder: Path, weights: str) -> int:
    """Solved ones of EPISODES that neither training nor the choice of the best weights has seen."""
    run = load_run(run_folder)
    act = Actor(run.policy(weights), observer_of(run.origin), seed=0)
    seeds = range(5_000_000, 5_000_000 + EPISODES)
    env = worlds(100)(AutoresetMode.DISABLED)
    return int(run_episodes(env, act, action_horizon=4, seeds=seeds).success.sum())


@pytest.fixture(scope="module")
def cloned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a policy cloned from demonstrations of which about half miss the goal."""
    folder = tmp_path_factory.mktemp("careless")
    shown = demonstrate(folder / "demos.hdf5", episodes=100, seed=0, miss=0.13)
    assert 0.4 < shown < 0.6
    cloning = pretrain_config(
        model={"hidden_dim": 64},
        optim={"steps": 400, "batch_size": 128, "lr": 2e-3, "warmup_steps": 50, "ema_start_step": 300},
    )
    pretrain(cloning, folder / "demos.hdf5", folder / "cloned", progress=False)
    return folder / "cloned"


def assert_learned(cloned: Path, tuned: Path) -> None:
    before, after = solved(cloned, "ema"), solved(tuned, "best")
    table = [[after, EPISODES - after], [before, EPISODES - before]]
    assert fisher_exact(table, alternative="greater").pvalue < 1e-3, (before, after)
    assert after > 0.85 * EPISODES, (before, after)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_fine_tuning_raises_the_success_of_a_cloned_policy(cloned: Path, tmp_path: Path) -> None:
    tuning = finetune_config(
        iterations=25,
        env={"num_envs": 40},
        ppo={
            "epochs": 10,
            "minibatch_pairs": 320,
            "critic_warmup_iterations": 2,
            "actor_lr": 1e-3,
            "clip_low": 0.02,
            "clip_high": 0.2,
            "gamma_env": 0.99,
        },
        critic={"hidden_dim": 64},
        success={"episodes": 100, "every_iterations": 5},
    )
    tune(tuning, cloned, tmp_path / "tuned")
    assert_learned(cloned, tmp_path / "tuned")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_critics_on_replay_raise_it_too_with_fewer_steps(cloned: Path, tmp_path: Path) -> None:
    def ending(mode: AutoresetMode) -> PointEnv:
        return PointEnv(60, autoreset_mode=mode, terminate_on_success=True)

    tuning = finetune_config(
        algorithm="qppo",
        iterations=15,
        env={"num_envs": 60, "terminate_on_success": True},
        ppo={
            "epochs": 8,
            "minibatch_pairs": 1280,
            "critic_warmup_iterations": 3,
            "actor_lr": 1e-3,
            "critic_lr": 3e-3,
            "clip_low": 0.02,
            "clip_high": 0.2,
            "ema_decay": 0.98,
        },
        qppo={"critics": 5, "gamma": 0.8, "return_chunks": 3, "critic_updates": 60, "batch_size": 128}
        | {"target_decay": 0.95, "observations": 256},
        critic={"hidden_dim": 64},
        success={"episodes": 100, "every_iterations": 5},
    )
    outcome = finetune(tuning, cloned, ending, tmp_path / "tuned", progress=False)
    assert outcome.env_steps < 26_000  # PPO above takes 32 000
    assert_learned(cloned, tmp_path / "tuned")
