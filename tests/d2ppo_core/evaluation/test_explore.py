"""The exploring sampler against the chain that fine-tuning explores with."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from d2ppo_core.config.finetune import ChainConfig
from d2ppo_core.evaluation.explore import Exploration, explore
from d2ppo_core.finetune.runs import load_run
from d2ppo_core.models.chain import DiffusionChain
from d2ppo_core.models.diffusion import DiffusionPolicy
from d2ppo_core.models.gaussian import GaussianChain, GaussianPolicy

STATE = torch.linspace(-1, 1, 38).reshape(2, 19)


@pytest.mark.parametrize("finetuned_steps", [5, 10])
def test_it_samples_what_the_chain_samples_from_the_same_noise(
    make_run: Callable[..., Path], finetuned_steps: int
) -> None:
    config = ChainConfig(num_denoising_steps=10, finetuned_steps=finetuned_steps)
    run = load_run(make_run())
    policy = run.policy("ema", num_denoising_steps=10)
    assert isinstance(policy, DiffusionPolicy)
    chain = DiffusionChain(policy, config, action_horizon=4)
    if chain.base is not None:
        chain.policy.load_state_dict(run.origin.model)
        policy.set_base(chain.base, tuned_below=2 * finetuned_steps)
    wanted = chain.sample(STATE, None, torch.Generator().manual_seed(3)).actions
    noise = torch.randn(11, 2, 28, generator=torch.Generator().manual_seed(3))
    found = explore(policy, STATE, None, noise.transpose(0, 1).unflatten(2, (4, 7)), Exploration.of_chain(config))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)


def test_without_noise_in_the_steps_it_is_the_deterministic_sampler(make_run: Callable[..., Path]) -> None:
    policy = load_run(make_run()).policy("ema", num_denoising_steps=5)
    noise = torch.randn(2, 6, 4, 7, generator=torch.Generator().manual_seed(0))
    found = explore(policy, STATE, None, noise, Exploration(eta=0.0))
    torch.testing.assert_close(found, policy.sample(STATE, None, noise[:, 0]), rtol=0, atol=1e-6)


def test_a_floor_keeps_the_last_step_noisy(make_run: Callable[..., Path]) -> None:
    policy = load_run(make_run()).policy("ema")
    noise = torch.randn(2, 21, 4, 7, generator=torch.Generator().manual_seed(0))
    other = noise.clone()
    other[:, -1] += 1.0
    assert torch.equal(*(explore(policy, STATE, None, n, Exploration()) for n in (noise, other)))
    moved = [explore(policy, STATE, None, n, Exploration(min_std=0.1)) for n in (noise, other)]
    assert (moved[1] - moved[0]).max() == pytest.approx(0.1, abs=1e-5)


def test_a_gaussian_policy_draws_around_its_mean_as_fine_tuning_does(make_run: Callable[..., Path]) -> None:
    config = ChainConfig(min_sampling_std=0.2)
    policy = load_run(make_run(model={"kind": "gaussian"})).policy("ema")
    assert isinstance(policy, GaussianPolicy)
    wanted = GaussianChain(policy, config, action_horizon=4).sample(STATE, None, torch.Generator().manual_seed(3))
    noise = torch.randn(2, 28, generator=torch.Generator().manual_seed(3)).reshape(2, 1, 4, 7)
    found = explore(policy, STATE, None, noise, Exploration.of_chain(config))
    torch.testing.assert_close(found, wanted.actions, rtol=0, atol=1e-6)
