import copy
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from d2ppo_core.envs import AutoresetMode
from d2ppo_core.errors import ConfigError, TrainingError
from d2ppo_core.finetune.runs import load_run
from d2ppo_core.finetune.trainer import Actor, Trainer, iteration_seed, sampled_as_tuned

from .tiny_runs import finetune_config, make_trainer
from .tiny_task import PointEnv


def evaluation_worlds(num_envs: int = 8) -> PointEnv:
    return PointEnv(num_envs, autoreset_mode=AutoresetMode.DISABLED, terminate_on_success=True)


def test_it_starts_from_the_averaged_weights_of_the_pre_training(origin: Path) -> None:
    trainer = make_trainer(origin)
    saved = load_run(origin).origin
    for name, weight in trainer.chain.policy.named_parameters():
        assert torch.equal(weight, saved.ema[name]), name
    assert any(not torch.equal(saved.ema[name], saved.model[name]) for name in saved.ema)


def test_an_iteration_counts_and_reports(origin: Path) -> None:
    trainer = make_trainer(origin)
    first, second = trainer.iterate(), trainer.iterate()
    assert trainer.iteration == 2 and trainer.env_steps == 2 * 8 * 32
    assert "losses/policy" not in first and math.isfinite(second["losses/policy"])  # one iteration of warm-up
    assert second["rollout/env_steps"] == trainer.env_steps and 0 <= second["rollout/success"] <= 1


def test_the_seed_decides_and_nothing_else(origin: Path) -> None:
    def trained(seed: int) -> torch.Tensor:
        trainer = make_trainer(origin, seed=seed)
        torch.manual_seed(123 + seed)
        for _ in range(2):
            trainer.iterate()
        return trainer.chain.policy.get_parameter("denoiser.output.weight").detach().clone()

    one = trained(0)
    torch.rand(7)
    assert torch.equal(one, trained(0)) and not torch.equal(one, trained(1))


def test_each_iteration_and_use_has_a_seed_of_its_own() -> None:
    seeds = {iteration_seed(s, i, u) for s in range(3) for i in range(50) for u in range(3)}
    assert len(seeds) == 450


def test_images_are_learned_from_too(origins: Callable[[bool], Path]) -> None:
    trainer = make_trainer(origins(True), ppo={"grouping": "observations", "micro_batch_pairs": 40})
    before = copy.deepcopy(trainer.chain.policy.state_dict())
    for _ in range(2):
        trainer.iterate()
    changed = [
        name for name, value in trainer.chain.policy.state_dict().items() if not torch.equal(value, before[name])
    ]
    assert any(name.startswith("encoder.vit") for name in changed)
    critic = {p.data_ptr() for p in trainer.critic.parameters()}
    assert not critic & {p.data_ptr() for p in trainer.chain.parameters()}


def test_evaluation_repeats_and_leaves_no_trace(origin: Path) -> None:
    one, other = make_trainer(origin), make_trainer(origin)
    first = one.evaluate(evaluation_worlds(), "ema")
    again = one.evaluate(evaluation_worlds(), "ema")
    np.testing.assert_array_equal(first.steps, again.steps)
    assert first.seeds == tuple(range(1_000_000, 1_000_008))
    one.iterate()
    other.iterate()
    for a, b in zip(one.critic.parameters(), other.critic.parameters(), strict=True):
        assert torch.equal(a, b)


def test_evaluation_takes_the_weights_that_it_is_asked_for(origin: Path) -> None:
    trainer = make_trainer(origin)
    with torch.no_grad():
        trainer.chain.policy.get_parameter("denoiser.output.bias").add_(1.0)
    envs = evaluation_worlds(), evaluation_worlds()
    for env, weights in zip(envs, ("ema", "raw"), strict=True):
        trainer.evaluate(env, weights)
    assert not np.allclose(envs[0].actions[0], envs[1].actions[0], atol=0.01)


def test_the_actor_is_deterministic_but_for_its_noise(origin: Path) -> None:
    trainer, env = make_trainer(origin), evaluation_worlds()
    policy = load_run(origin).policy()
    obs, _ = env.reset(seed=0)
    one, other, third = (Actor(policy, trainer.observer, seed=seed) for seed in (0, 0, 1))
    first = one(obs)
    assert first.shape == (8, 4, 7) and np.abs(first).max() <= 1
    np.testing.assert_array_equal(first, other(obs))
    assert not np.array_equal(first, third(obs)) and not np.array_equal(first, one(obs))


def test_the_best_weights_are_kept_as_they_were(origin: Path) -> None:
    trainer = make_trainer(origin)
    trainer.take_best(0.5)
    kept = {name: value.clone() for name, value in trainer.update.ema.shadow.items()}
    for _ in range(2):
        trainer.iterate()
    trainer.take_best(0.4)
    assert (trainer.best["success"], trainer.best["iteration"]) == (0.5, 0)
    assert all(torch.equal(trainer.best["weights"][name], value) for name, value in kept.items())
    trainer.take_best(0.5)  # as good: the later one
    assert trainer.best["iteration"] == 2
    assert any(not torch.equal(trainer.best["weights"][name], value) for name, value in kept.items())


def test_a_policy_of_another_task_is_refused(origin: Path) -> None:
    config = replace(finetune_config(), task="lift")
    with pytest.raises(ConfigError, match="wanted a policy for lift, got one for point"):
        Trainer(config, load_run(origin).origin, PointEnv())


def test_a_chain_that_does_not_divide_the_training_steps_is_refused(origin: Path) -> None:
    wanted = "num_denoising_steps: wanted a divisor of the 20 steps that the policy was trained with, got 7"
    with pytest.raises(ConfigError, match=wanted):
        make_trainer(origin, chain={"num_denoising_steps": 7, "finetuned_steps": 5})


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused_in_one_line(origin: Path) -> None:
    with pytest.raises(ConfigError, match="wanted cuda, but torch .* sees no CUDA device"):
        make_trainer(origin, device="cuda")


@pytest.mark.gpu
@pytest.mark.parametrize("images", [False, True], ids=["state", "image"])
def test_a_gpu_learns_the_same_and_its_checkpoint_needs_none(origins: Callable[[bool], Path], images: bool) -> None:
    one, other = (make_trainer(origins(images), device=device) for device in ("cpu", "cuda"))
    rollout = one.collector.collect(one.chain, chunks=8, seed=0)
    rollout = replace(rollout, reward=np.random.default_rng(0).random(rollout.reward.shape, dtype=np.float32))
    for trainer in (one, other):
        trainer.update.update(rollout, torch.Generator().manual_seed(0))
    for a, b in zip(one.chain.policy.parameters(), other.chain.policy.parameters(), strict=True):
        torch.testing.assert_close(b.cpu(), a, rtol=0, atol=1e-4)
    other.iterate()
    other.evaluate(PointEnv(8, autoreset_mode=AutoresetMode.DISABLED, images=images), "ema")


@pytest.mark.parametrize(("steps", "tuned", "deployed"), [(20, 10, 10), (10, 5, 10), (5, 5, 5), (4, 2, 4)])
def test_the_sampler_takes_only_steps_that_the_chain_takes(origin: Path, steps: int, tuned: int, deployed: int) -> None:
    chain = finetune_config(chain={"num_denoising_steps": steps, "finetuned_steps": tuned}).chain
    found = sampled_as_tuned(load_run(origin).origin, chain)
    assert found.config.model.num_denoising_steps == deployed
    trainer = make_trainer(origin, chain={"num_denoising_steps": steps, "finetuned_steps": tuned})
    policy = trainer._deployed(trainer.chain.policy.state_dict())
    assert {step.t for step in policy.steps} <= {step.t for step in trainer.chain.steps}
    if policy.base is not None:
        tuned_times = {int(t) for t in trainer.chain.times}
        assert {step.t for step in policy.steps if step.t < policy.tuned_below} <= tuned_times
        assert not {step.t for step in policy.steps if step.t >= policy.tuned_below} & tuned_times


def test_a_checkpoint_of_another_configuration_is_refused_and_says_what_differs(origin: Path) -> None:
    saved = make_trainer(origin).checkpoint()
    with pytest.raises(
        TrainingError, match=r"another configuration \(ppo.epochs 2, now 3\); leave out --config.* or use another --out"
    ):
        make_trainer(origin, ppo={"epochs": 3}).restore(saved)
    make_trainer(origin, iterations=9, threads=2, env={"threads": 3}).restore(saved)
