import math

import pytest
import torch

from d2ppo_core.config import GaussianConfig, PretrainConfig, from_mapping
from d2ppo_core.config.finetune import ChainConfig
from d2ppo_core.errors import ConfigError
from d2ppo_core.models.build import Shapes, build_chain, build_diffusion, build_policy
from d2ppo_core.models.gaussian import GaussianChain, GaussianPolicy, MeanNetwork
from d2ppo_core.models.vit import StateEncoder

STATE, ACTION, HORIZON = 5, 7, 4


def make_policy(**gaussian: object) -> GaussianPolicy:
    torch.manual_seed(0)
    return GaussianPolicy(
        encoder=StateEncoder(STATE),
        mean=MeanNetwork(chunk_dim=HORIZON * ACTION, condition_dim=STATE, hidden_dim=32),
        pred_horizon=HORIZON,
        action_dim=ACTION,
        config=GaussianConfig(**gaussian),
    )


def make_chain(action_horizon: int = HORIZON, chain: ChainConfig | None = None, **gaussian: object) -> GaussianChain:
    return GaussianChain(make_policy(**gaussian), chain or ChainConfig(), action_horizon=action_horizon)


def test_the_configuration_chooses_the_kind_of_policy() -> None:
    config = from_mapping(PretrainConfig, {"name": "a", "task": "lift", "model": {"kind": "gaussian"}})
    shapes = Shapes(state_dim=STATE, action_dim=ACTION)
    policy = build_policy(config, shapes)
    assert isinstance(policy, GaussianPolicy)
    assert isinstance(build_chain(policy, ChainConfig(), action_horizon=2), GaussianChain)
    with pytest.raises(ConfigError, match="wanted a diffusion policy, got a gaussian one"):
        build_diffusion(config, shapes)
    with pytest.raises(ConfigError, match="model.kind: wanted one of diffusion, gaussian, got 'flow'"):
        from_mapping(PretrainConfig, {"name": "a", "task": "lift", "model": {"kind": "flow"}})
    with pytest.raises(ConfigError, match="loss.dispersive_form=published: wanted model.kind=diffusion"):
        loss = {"dispersive_form": "published", "dispersive_tap": "late"}
        from_mapping(PretrainConfig, {"name": "a", "task": "lift", "model": {"kind": "gaussian"}, "loss": loss})


def test_taps_are_three_different_activations_of_the_pass_that_predicts_the_mean() -> None:
    policy = make_policy()
    condition = torch.randn(6, STATE)
    mean, taps = policy.mean(condition)
    assert mean.shape == (6, HORIZON * ACTION) and mean.abs().max() < 1
    assert [taps[name].shape for name in ("early", "mid", "late")] == [(6, 32)] * 3
    for a, b in (("early", "mid"), ("mid", "late"), ("early", "late")):
        assert not torch.allclose(taps[a], taps[b])
    torch.testing.assert_close(policy.mean.output(taps["late"]).tanh(), mean)


def test_the_sample_is_the_mean_whatever_the_noise() -> None:
    policy = make_policy()
    state = torch.randn(3, STATE)
    one, other = (policy.sample(state, None, torch.randn(3, HORIZON, ACTION)) for _ in range(2))
    torch.testing.assert_close(one, policy.mean(state)[0].reshape(3, HORIZON, ACTION))
    assert torch.equal(one, other) and not one.requires_grad


def test_a_fixed_std_is_no_weight_and_a_learned_one_starts_where_asked_for() -> None:
    fixed, learned = make_policy(std=0.2), make_policy(std=0.05, learn_std=True)
    assert torch.equal(fixed.std, torch.full((HORIZON * ACTION,), 0.2))
    assert set(learned.state_dict()) - set(fixed.state_dict()) == {"raw_std"}
    torch.testing.assert_close(learned.std, torch.full((HORIZON * ACTION,), 0.05))


@pytest.mark.parametrize(("scale", "wanted"), [(1e-4, 0.01), (5.0, 0.2)])
def test_a_learned_std_goes_to_its_bounds_and_no_further(scale: float, wanted: float) -> None:
    policy = make_policy(learn_std=True)
    optimizer = torch.optim.Adam([policy.raw_std], lr=0.3)
    mean, chunks = torch.zeros(64, HORIZON * ACTION), scale * torch.randn(64, HORIZON * ACTION)
    for _ in range(100):
        optimizer.zero_grad()
        policy.errors(mean, chunks).mean().backward()
        assert policy.raw_std.grad is not None and (policy.raw_std.grad != 0).all()
        optimizer.step()
    assert (policy.std >= 0.01 * (1 - 1e-6)).all() and (policy.std <= 0.2 * (1 + 1e-6)).all()
    torch.testing.assert_close(policy.std, torch.full_like(policy.std, wanted), rtol=0.05, atol=0)


@pytest.mark.parametrize(
    "wrong", [{"std": 0.0}, {"std": 0.01, "learn_std": True}, {"std": 0.1, "learn_std": True, "std_max": 0.1}]
)
def test_a_std_outside_of_its_bounds_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"model\.gaussian"):
        GaussianConfig(**wrong)


def test_without_a_learned_std_cloning_descends_on_squared_errors() -> None:
    policy = make_policy()
    mean, chunks = torch.randn(3, HORIZON * ACTION), torch.randn(3, HORIZON * ACTION)
    torch.testing.assert_close(policy.errors(mean, chunks), (mean - chunks) ** 2)


def test_a_chain_has_one_step_with_the_likelihood_of_the_executed_actions() -> None:
    chain = make_chain(action_horizon=2)
    state = torch.randn(8, STATE)
    drawn = chain.sample(state, None, torch.Generator().manual_seed(3))
    assert drawn.chain.shape == (8, 2, HORIZON * ACTION) and drawn.log_prob.shape == (8, 1)
    assert (drawn.chain[:, 0] == 0).all()
    mean = chain.policy.mean(state)[0]
    density = torch.distributions.Normal(mean, 0.1).log_prob(drawn.chain[:, 1])[:, : 2 * ACTION].clamp(-5, 2).mean(1)
    torch.testing.assert_close(drawn.log_prob[:, 0], density)
    again = chain.log_prob(state, drawn.chain[:, 0], drawn.chain[:, 1], torch.zeros(8, dtype=torch.long))
    torch.testing.assert_close(again, drawn.log_prob[:, 0])
    torch.testing.assert_close(drawn.actions.flatten(1), drawn.chain[:, 1].clamp(-1, 1))


def test_exploration_is_spread_by_the_std_but_never_below_its_floor_nor_beyond_its_limit() -> None:
    state = torch.zeros(4000, STATE)
    for std, floor, wanted in ((0.02, 0.1, 0.1), (0.3, 0.1, 0.3)):
        chain = make_chain(chain=ChainConfig(min_sampling_std=floor, noise_clip=2.0), std=std)
        drawn = chain.sample(state, None, torch.Generator().manual_seed(0)).chain[:, 1]
        spread = (drawn - chain.policy.mean(state[:1])[0]) / wanted
        assert spread.std().item() == pytest.approx(0.959, rel=0.02)  # of a normal distribution clipped at 2
        assert spread.abs().max().item() == pytest.approx(2.0, abs=1e-4)


def test_the_floor_of_the_likelihood_holds_for_a_learned_std_too() -> None:
    chain = make_chain(chain=ChainConfig(min_log_prob_std=0.15), std=0.05, learn_std=True)
    state = torch.zeros(1, STATE)
    mean = chain.policy.mean(state)[0]
    at_mean = chain.log_prob(state, mean, mean, torch.zeros(1, dtype=torch.long))
    assert at_mean.item() == pytest.approx(-math.log(0.15 * math.sqrt(2 * math.pi)), rel=1e-5)


def test_the_generator_decides_the_sample() -> None:
    chain, state = make_chain(), torch.randn(3, STATE)
    one, again, other = (chain.sample(state, None, torch.Generator().manual_seed(s)).actions for s in (1, 1, 2))
    assert torch.equal(one, again) and not torch.equal(one, other)
