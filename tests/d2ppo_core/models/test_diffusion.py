import copy
import math
from collections.abc import Callable

import pytest
import torch

from d2ppo_core.config import PretrainConfig
from d2ppo_core.models.build import Shapes, build_policy
from d2ppo_core.models.diffusion import DiffusionPolicy, ddim_mean
from d2ppo_core.models.schedule import ddim_steps


@pytest.fixture
def policy(tiny_config: Callable[..., PretrainConfig]) -> DiffusionPolicy:
    torch.manual_seed(0)
    return build_policy(tiny_config(), Shapes(state_dim=19, action_dim=7))


def test_noising_keeps_variance_and_mixes_signal_and_noise(policy: DiffusionPolicy) -> None:
    x0, eps = torch.ones(2, 28), torch.full((2, 28), 2.0)
    noisy = policy.add_noise(x0, eps, torch.tensor([0, 19]))
    a = policy.alpha_bar[[0, 19]]
    torch.testing.assert_close(noisy[:, 0], a.sqrt() + 2 * (1 - a).sqrt())


def test_a_step_with_the_true_noise_lands_on_the_less_noisy_sample() -> None:
    step = ddim_steps(20, 10, spacing="trailing")[3]
    x0, eps = torch.rand(4, 28) * 1.8 - 0.9, torch.randn(4, 28)
    noisy = math.sqrt(step.alpha_bar) * x0 + math.sqrt(1 - step.alpha_bar) * eps
    wanted = math.sqrt(step.alpha_bar_next) * x0 + math.sqrt(1 - step.alpha_bar_next) * eps
    torch.testing.assert_close(ddim_mean(noisy, eps, step).mean, wanted, atol=2e-6, rtol=1e-5)


def test_noise_is_recomputed_after_clipping() -> None:
    step = ddim_steps(20, 10, spacing="trailing")[0]
    x, eps = torch.full((1, 1), 3.0), torch.full((1, 1), -1.0)
    signal, noise = math.sqrt(step.alpha_bar), math.sqrt(1 - step.alpha_bar)
    assert (x - noise * eps) / signal > 1  # x0 is clipped to 1
    recomputed = (3.0 - signal) / noise
    wanted = math.sqrt(step.alpha_bar_next) + math.sqrt(1 - step.alpha_bar_next) * recomputed
    assert float(ddim_mean(x, eps, step).mean) == pytest.approx(wanted, rel=1e-6)


def test_sampling_is_a_function_of_its_inputs(policy: DiffusionPolicy) -> None:
    state, noise = torch.randn(3, 19), torch.randn(3, 4, 7)
    first = policy.sample(state, None, noise)
    assert torch.equal(policy.sample(state, None, noise), first)
    assert not torch.equal(policy.sample(state, None, noise + 1), first)


def test_samples_lie_in_the_unit_box(policy: DiffusionPolicy) -> None:
    actions = policy.sample(5 * torch.randn(64, 19), None, 5 * torch.randn(64, 4, 7))
    assert actions.shape == (64, 4, 7) and actions.abs().max() <= 1


def test_the_chain_starts_with_the_noise_and_ends_with_the_sample(policy: DiffusionPolicy) -> None:
    state, noise = torch.randn(2, 19), torch.randn(2, 4, 7)
    chain = policy.sample_chain(state, None, noise)
    assert chain.shape == (2, 11, 28)
    assert torch.equal(chain[:, 0], noise.flatten(1))
    torch.testing.assert_close(chain[:, -1], policy.sample(state, None, noise).flatten(1))


def test_each_link_of_the_chain_is_the_step_mean_of_the_one_before(policy: DiffusionPolicy) -> None:
    condition = torch.randn(2, 19)
    chain = policy.sample_chain(condition, None, torch.randn(2, 4, 7))
    for k, step in enumerate(policy.steps):
        with torch.no_grad():
            eps, _ = policy.denoiser(chain[:, k], torch.full((2,), step.t), condition)
        torch.testing.assert_close(ddim_mean(chain[:, k], eps, step).mean, chain[:, k + 1])


def test_after_fine_tuning_the_origin_denoises_the_noisiest_steps(policy: DiffusionPolicy) -> None:
    origin, noise = copy.deepcopy(policy), 0.1 * torch.randn(2, 4, 7)
    with torch.no_grad():
        policy.denoiser.output.bias += 0.3
    policy.set_base(origin, tuned_below=10)
    mixed = policy.sample_chain(torch.zeros(2, 19), None, noise)
    alone = origin.sample_chain(torch.zeros(2, 19), None, noise)
    torch.testing.assert_close(mixed[:, :6], alone[:, :6], rtol=0, atol=0)  # t = 19, 17, 15, 13, 11
    assert not torch.allclose(mixed[:, 6], alone[:, 6])
