from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from d2ppo_core.envs import AutoresetMode
from d2ppo_core.evaluation.explore import Exploration, explore
from d2ppo_core.finetune.experience import make_experience
from d2ppo_core.finetune.minibatch import minibatches
from d2ppo_core.finetune.runs import load_run
from d2ppo_core.models.gaussian import GaussianChain, GaussianPolicy
from d2ppo_core.pretrain.run import pretrain

from . import tiny_task
from .tiny_runs import finetune_config, make_trainer, pretrain_config, tune
from .tiny_task import PointEnv

PPO = {"epochs": 5, "minibatch_pairs": 128, "clip_high": 0.1, "actor_lr": 1e-3, "critic_lr": 3e-3, "target_kl": 0.1}


@pytest.fixture(scope="module", params=[False, True], ids=["fixed-std", "learned-std"])
def gaussian_origin(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a short pre-training of a Gaussian policy."""
    folder = tmp_path_factory.mktemp("gaussian")
    tiny_task.demonstrate(folder / "demos.hdf5", episodes=12, seed=0)
    config = pretrain_config(
        model={"kind": "gaussian", "hidden_dim": 64, "gaussian": {"learn_std": request.param}},
        optim={"steps": 40, "batch_size": 128, "lr": 3e-3, "ema_every": 1, "ema_decay": 0.9},
    )
    pretrain(config, folder / "demos.hdf5", folder / "run", progress=False)
    return folder / "run"


def test_before_the_first_update_ratios_are_one(gaussian_origin: Path) -> None:
    trainer = make_trainer(gaussian_origin, ppo={"clip_high": 0.2})
    update = trainer.update
    rollout = trainer.collector.collect(trainer.chain, chunks=8, seed=1)
    rollout = replace(rollout, reward=torch.rand(rollout.reward.shape).numpy())
    assert rollout.chain.shape[2] == 2 and rollout.log_prob.shape[2] == 1
    experience = make_experience(rollout, update.critic, update.reward_scale, update.config)
    batch = next(minibatches(len(experience.state), 1, update.config, torch.Generator().manual_seed(0)))
    found = update.step(experience, batch, actor=True)
    assert found["ppo/ratio"] == pytest.approx(1, abs=1e-5) and found["ppo/clip_fraction"] == 0
    assert update.clip.tolist() == pytest.approx([0.2])
    assert update.step(experience, batch, actor=True)["ppo/ratio"] != found["ppo/ratio"]


def test_drawing_more_steps_than_there_are_takes_the_one(gaussian_origin: Path) -> None:
    config = finetune_config(ppo={"steps_per_observation": 3, "minibatch_pairs": 10}).ppo
    batches = list(minibatches(32, 1, config, torch.Generator().manual_seed(0)))
    assert sorted(torch.cat([batch.pair_obs for batch in batches]).tolist()) == list(range(32))
    assert all((batch.step == 0).all() and (batch.weight == 1).all() for batch in batches)


def test_the_same_update_that_tunes_a_chain_makes_the_baseline_earn_more(gaussian_origin: Path) -> None:
    trainer = make_trainer(
        gaussian_origin, PointEnv(32), env={"num_envs": 32, "chunks_per_iteration": 16}, ppo=PPO,
        critic={"hidden_dim": 64, "layers": 2},
    )  # fmt: skip
    assert isinstance(trainer.chain, GaussianChain)
    rewards = [trainer.iterate()["rollout/reward_per_chunk"] for _ in range(8)]
    assert rewards[-1] > 1.3 * rewards[0], rewards


def test_a_run_ends_resumes_and_is_loaded_with_the_same_weights(gaussian_origin: Path, tmp_path: Path) -> None:
    config = finetune_config(ppo=PPO | {"epochs": 1})
    assert tune(replace(config, iterations=2), gaussian_origin, tmp_path / "parts").finished
    assert tune(config, gaussian_origin, tmp_path / "parts", resume=True).iteration == 4
    tune(config, gaussian_origin, tmp_path / "whole")
    parts, whole = (load_run(tmp_path / name) for name in ("parts", "whole"))
    for weights in ("raw", "ema", "best"):
        one, other = parts.policy(weights), whole.policy(weights)
        assert isinstance(one, GaussianPolicy)
        assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert not torch.equal(parts.policy("raw").get_parameter("mean.output.weight"),
                           parts.origin.ema["mean.output.weight"])  # fmt: skip


def test_evaluation_acts_by_the_mean(gaussian_origin: Path) -> None:
    trainer = make_trainer(gaussian_origin)
    env = PointEnv(8, autoreset_mode=AutoresetMode.DISABLED, terminate_on_success=True)
    trainer.evaluate(env, "ema")
    first = np.concatenate(env.actions[:4], axis=1)  # evaluation executes step by step
    state, images = trainer.observer.inputs(env.reset(seed=1_000_000)[0]).tensors()
    mean = load_run(gaussian_origin).policy().sample(state, images, torch.zeros(8, 4, 7))
    np.testing.assert_allclose(first, trainer.observer.actions(mean), atol=1e-6)


def test_exploring_spreads_actions_around_the_mean_by_the_floored_std(gaussian_origin: Path) -> None:
    policy = load_run(gaussian_origin).policy()
    state, noise = torch.zeros(2000, 4), torch.randn(2000, 3, 4, 7, generator=torch.Generator().manual_seed(0))
    mean = policy.sample(state, None, noise[:, 0])
    inside = mean[0].abs() < 0.3
    drawn = explore(policy, state, None, noise, Exploration(min_std=0.2))
    assert inside.any()
    torch.testing.assert_close((drawn - mean).std(0)[inside], torch.full((int(inside.sum()),), 0.2), rtol=0.1, atol=0)
