import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Normal

from d2ppo_core.config import PretrainConfig
from d2ppo_core.config.finetune import ChainConfig
from d2ppo_core.models.build import Shapes, build_policy
from d2ppo_core.models.chain import ChainSample, DiffusionChain, gaussian_log_prob
from d2ppo_core.models.diffusion import DiffusionPolicy

Build = Callable[..., PretrainConfig]
Array = NDArray[np.float64]
WIDTH = 28
"""Four actions of seven numbers."""


def make_policy(build: Build, *, images: bool = False, **model: int) -> DiffusionPolicy:
    torch.manual_seed(0)
    shapes = (
        Shapes(state_dim=9, action_dim=7, num_cameras=1, image_hw=(24, 24))
        if images
        else Shapes(state_dim=19, action_dim=7)
    )
    return build_policy(build(images=images, model=model), shapes)


def make_chain(
    policy: DiffusionPolicy, steps: int, tuned: int, *, horizon: int = 4, **options: float
) -> DiffusionChain:
    config = ChainConfig(num_denoising_steps=steps, finetuned_steps=tuned, **options)  # type: ignore[arg-type]
    return DiffusionChain(policy, config, action_horizon=horizon)


def observations(policy: DiffusionPolicy, count: int, *, images: bool = False) -> tuple[Tensor, Tensor | None]:
    generator = torch.Generator().manual_seed(1)
    state = torch.rand(count, 9 if images else 19, generator=generator) * 2 - 1
    pictures = torch.randint(0, 256, (count, 1, 24, 24, 3), dtype=torch.uint8, generator=generator)
    return state, pictures if images else None


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def recomputed(chain: DiffusionChain, state: Tensor, images: Tensor | None, sample: ChainSample) -> Tensor:
    """Log-probs (N, K') of a sample as an update computes them: all pairs at once, in another order."""
    count, steps = len(state), chain.num_steps
    order = torch.randperm(count * steps, generator=seeded(5))
    row, step = order // steps, order % steps
    found = torch.empty(count * steps)
    found[order] = chain.log_prob(
        chain.condition(state, images)[row], sample.chain[row, step], sample.chain[row, step + 1], step
    ).detach()
    return found.reshape(count, steps)


def textbook_posterior(num_steps: int, t: int, x: Array, eps: Array) -> tuple[Array, float]:
    """DDPM's q(x_{t-1} | x_t, x0) for the cosine schedule, with x0 estimated from eps and clipped (Ho et al. 2020)."""

    def share(s: float) -> float:
        return math.cos((s / num_steps + 0.008) / 1.008 * math.pi / 2) ** 2

    betas = np.array([min(1 - share(s + 1) / share(s), 0.999) for s in range(num_steps)])
    bars = np.cumprod(1 - betas)
    beta, bar, before = betas[t], bars[t], bars[t - 1] if t else 1.0
    x0 = np.clip((x - math.sqrt(1 - bar) * eps) / math.sqrt(bar), -1, 1)
    mean = math.sqrt(before) * beta / (1 - bar) * x0 + math.sqrt(1 - beta) * (1 - before) / (1 - bar) * x
    return mean, math.sqrt(beta * (1 - before) / (1 - bar))


def normal_log_prob(x: Array, mean: Array, std: float) -> Array:
    found: Array = np.clip(-((x - mean) ** 2) / (2 * std**2) - math.log(std * math.sqrt(2 * math.pi)), -5, 2).mean(-1)
    return found


def test_two_steps_by_hand(tiny_config: Build) -> None:
    policy = make_policy(tiny_config, num_train_steps=2, num_denoising_steps=2)
    with torch.no_grad():  # the predicted noise is 0.3, whatever comes in
        policy.denoiser.output.weight.zero_()
        policy.denoiser.output.bias.fill_(0.3)
    chain = make_chain(policy, 2, 2, min_log_prob_std=0.05)
    rng = np.random.default_rng(0)
    x, after = rng.normal(size=(2, 3, WIDTH)), rng.normal(scale=0.3, size=(2, 3, WIDTH))
    for k, t in enumerate((1, 0)):
        mean, std = textbook_posterior(2, t, x[k], np.full((3, WIDTH), 0.3))
        wanted = normal_log_prob(after[k], mean, max(std, 0.05))
        inputs = (torch.tensor(a, dtype=torch.float32) for a in (x[k], after[k]))
        got = chain.log_prob(torch.zeros(3, 19), *inputs, torch.full((3,), k))
        np.testing.assert_allclose(got.detach().numpy(), wanted, rtol=1e-5)


@pytest.mark.parametrize("floor", [0.02, 0.1])
def test_with_all_steps_and_eta_one_each_step_is_the_ddpm_posterior(tiny_config: Build, floor: float) -> None:
    policy = make_policy(tiny_config)
    chain = make_chain(policy, 20, 20, min_log_prob_std=floor)
    exact = make_policy(tiny_config).double()
    rng = np.random.default_rng(0)
    state = rng.uniform(-1, 1, (4, 19))
    for k in range(20):
        x, after = rng.normal(size=(4, WIDTH)), rng.normal(scale=0.5, size=(4, WIDTH))
        with torch.no_grad():
            eps, _ = exact.denoiser(torch.tensor(x), torch.full((4,), 19 - k), torch.tensor(state))
        mean, std = textbook_posterior(20, 19 - k, x, eps.numpy())
        assert float(chain.table[k, 4]) == pytest.approx(max(std, floor), rel=1e-6)
        inputs = (torch.tensor(a, dtype=torch.float32) for a in (state, x, after))
        got = chain.log_prob(*inputs, torch.full((4,), k)).detach().numpy()
        np.testing.assert_allclose(got, normal_log_prob(after, mean, max(std, floor)), rtol=2e-5, atol=2e-5)


def test_the_gradient_is_that_of_a_normal_distribution(tiny_config: Build) -> None:
    policy, other = make_policy(tiny_config).double(), make_policy(tiny_config).double()
    chain = make_chain(policy, 20, 10).double()
    state = torch.rand(30, 19, dtype=torch.float64) * 2 - 1
    x, noise = torch.randn(2, 30, WIDTH, dtype=torch.float64)
    step = torch.arange(30) % 10
    mean, std = torch.empty(30, WIDTH, dtype=torch.float64), torch.empty(30, 1, dtype=torch.float64)
    for row, k in enumerate(step):
        eps, _ = other.denoiser(x[row : row + 1], 9 - k[None], state[row : row + 1])
        s = chain.steps[10 + int(k)]
        x0 = ((x[row] - math.sqrt(1 - s.alpha_bar) * eps[0]) / math.sqrt(s.alpha_bar)).clamp(-1, 1)
        again = (x[row] - math.sqrt(s.alpha_bar) * x0) / math.sqrt(1 - s.alpha_bar)
        mean[row] = math.sqrt(s.alpha_bar_next) * x0 + s.direction * again
        std[row] = max(s.sigma, 0.1)
    after = (mean + std * noise.clamp(-3, 3)).detach()  # likely enough for no clamp to act
    wanted = Normal(mean, std).log_prob(after).mean(-1)
    got = chain.log_prob(state, x, after, step)
    torch.testing.assert_close(got, wanted, rtol=1e-6, atol=1e-6)
    weights = torch.randn(30, dtype=torch.float64)
    (got * weights).sum().backward()
    (wanted * weights).sum().backward()
    for (name, a), b in zip(policy.named_parameters(), other.parameters(), strict=True):
        assert a.grad is not None and a.grad.abs().max() > 0, name
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-5, atol=1e-7, msg=name)


@pytest.mark.parametrize("images", [False, True], ids=["state", "image"])
@pytest.mark.parametrize(("train", "steps", "tuned", "eta"), [(20, 20, 10, 1.0), (20, 10, 5, 1.0), (100, 5, 5, 1.0)])
def test_recomputed_log_probs_are_those_of_the_sampling(
    tiny_config: Build, images: bool, train: int, steps: int, tuned: int, eta: float
) -> None:
    policy = make_policy(tiny_config, images=images, num_train_steps=train, num_denoising_steps=5)
    chain = make_chain(policy, steps, tuned, eta=eta)
    obs = observations(policy, 40, images=images)
    sample = chain.sample(*obs, seeded())
    assert sample.chain.shape == (40, tuned + 1, WIDTH) and sample.log_prob.shape == (40, tuned)
    log_ratio = recomputed(chain, *obs, sample) - sample.log_prob
    ratio = log_ratio.exp()
    assert float((ratio - 1).abs().max()) < 2e-5
    assert abs(float((ratio - 1 - log_ratio).mean())) < 1e-6


def test_without_noise_the_chain_is_the_deployed_sampler(tiny_config: Build) -> None:
    policy = make_policy(tiny_config)
    chain = make_chain(policy, 10, 10, eta=0.0, min_sampling_std=1e-12)
    state, _ = observations(policy, 6)
    first = torch.randn(11, 6, WIDTH, generator=seeded(3))[0].reshape(6, 4, 7)
    got = chain.sample(state, None, seeded(3))
    torch.testing.assert_close(got.actions, policy.sample(state, None, first), rtol=0, atol=1e-6)
    torch.testing.assert_close(got.chain, policy.sample_chain(state, None, first), rtol=0, atol=1e-6)


def test_with_a_frozen_part_and_without_noise_it_is_the_policy_with_its_base(tiny_config: Build) -> None:
    policy, deployed, base = (make_policy(tiny_config) for _ in range(3))
    chain = make_chain(policy, 10, 5, eta=0.0, min_sampling_std=1e-12)
    for tuned in (policy, deployed):
        with torch.no_grad():
            tuned.denoiser.output.bias += 0.3
    deployed.set_base(base, tuned_below=10)
    state, _ = observations(policy, 6)
    first = torch.randn(11, 6, WIDTH, generator=seeded(3))[0].reshape(6, 4, 7)
    got = chain.sample(state, None, seeded(3))
    torch.testing.assert_close(got.chain, deployed.sample_chain(state, None, first)[:, 5:], rtol=0, atol=1e-6)
    assert not torch.allclose(got.actions, base.sample(state, None, first), atol=1e-3)


def test_the_noisiest_steps_stay_with_the_origin(tiny_config: Build) -> None:
    policy = make_policy(tiny_config)
    chain = make_chain(policy, 20, 10)
    state, _ = observations(policy, 6)
    before = chain.sample(state, None, seeded()).chain
    with torch.no_grad():
        policy.denoiser.output.bias += 0.5
    after = chain.sample(state, None, seeded()).chain
    assert torch.equal(before[:, 0], after[:, 0])
    assert not torch.allclose(before[:, 1], after[:, 1])
    assert chain.base is not None and not any(p.requires_grad for p in chain.base.parameters())
    assert make_chain(policy, 5, 5).base is None


def test_noise_has_the_wanted_deviation_and_is_limited(tiny_config: Build) -> None:
    policy = make_policy(tiny_config)
    state = torch.zeros(4000, 19)
    chain = make_chain(policy, 20, 10, min_sampling_std=0.2)
    links = chain.sample(state, None, seeded()).chain
    for k in range(10):
        step = chain.steps[10 + k]
        with torch.no_grad():
            eps, _ = policy.denoiser(links[:, k], torch.full((4000,), step.t), state)
        mean, sigma = textbook_posterior(20, step.t, links[:, k].double().numpy(), eps.double().numpy())
        z = (links[:, k + 1].numpy() - mean) / max(sigma, 0.2)
        assert np.abs(z).max() <= 3 + 1e-4
        assert z.std() == pytest.approx(0.993, abs=0.01)  # of a normal variable limited to 3


def test_equal_seeds_draw_equal_chunks_within_the_box(tiny_config: Build) -> None:
    policy = make_policy(tiny_config)
    chain = make_chain(policy, 10, 5)
    state, _ = observations(policy, 8)
    one, other, third = (chain.sample(state, None, seeded(s)) for s in (4, 4, 5))
    assert torch.equal(one.chain, other.chain) and not torch.equal(one.chain, third.chain)
    assert one.actions.shape == (8, 4, 7) and float(one.actions.abs().max()) <= 1
    torch.testing.assert_close(one.actions.flatten(1), one.chain[:, -1].clamp(-1, 1), rtol=0, atol=0)


def test_only_executed_actions_have_a_likelihood(tiny_config: Build) -> None:
    policy = make_policy(tiny_config)
    chain = make_chain(policy, 10, 5, horizon=2)
    state, _ = observations(policy, 3)
    sample = chain.sample(state, None, seeded())
    x, after, step = sample.chain[:, 2], sample.chain[:, 3].clone(), torch.full((3,), 2)
    before = chain.log_prob(state, x, after, step)
    torch.testing.assert_close(before, sample.log_prob[:, 2], rtol=0, atol=1e-5)
    after[:, 14:] += 1.0
    assert torch.equal(chain.log_prob(state, x, after, step), before)
    after[:, :14] += 1.0
    assert (chain.log_prob(state, x, after, step) < before).all()


def test_log_probs_are_clamped_per_number_before_the_mean() -> None:
    x = torch.tensor([[0.0, 100.0]])
    got = gaussian_log_prob(x, torch.zeros(1, 2), torch.full((1, 1), 1e-3), 2)
    assert float(got) == pytest.approx((2 - 5) / 2)


@pytest.mark.parametrize(("tuned", "encodes"), [(5, 1), (3, 2)])
def test_sampling_encodes_each_observation_once_per_network(tiny_config: Build, tuned: int, encodes: int) -> None:
    policy = make_policy(tiny_config, images=True, num_train_steps=20, num_denoising_steps=5)
    chain = make_chain(policy, 5, tuned)
    calls: list[int] = []
    for network in (policy, chain.base):
        if network is not None:
            network.encoder.register_forward_hook(lambda *_: calls.append(1))
    chain.sample(*observations(policy, 4, images=True), seeded())
    assert len(calls) == encodes


def test_steps_that_do_not_divide_the_training_steps_are_refused(tiny_config: Build) -> None:
    with pytest.raises(ValueError, match="dividing T, got K=7, T=20"):
        make_chain(make_policy(tiny_config), 7, 5)
