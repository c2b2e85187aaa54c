import math

import pytest
import torch

from d2ppo_core.losses.ppo import clip_schedule, denoising_discount, normalized, ppo_loss, value_loss


def test_the_clip_range_grows_exponentially_between_its_ends() -> None:
    got = clip_schedule(10, low=0.001, high=0.01)
    assert got.shape == (10,)
    assert float(got[0]) == pytest.approx(0.001) and float(got[-1]) == pytest.approx(0.01)
    for k in range(10):
        wanted = 0.001 + 0.009 * (math.exp(3 * k / 9) - 1) / (math.exp(3) - 1)
        assert float(got[k]) == pytest.approx(wanted, rel=1e-5)
    assert bool((got.diff() > 0).all())


def test_a_single_fine_tuned_step_gets_the_wide_clip_range() -> None:
    assert clip_schedule(1, low=0.001, high=0.01).tolist() == [pytest.approx(0.01)]


def test_noisier_steps_count_less() -> None:
    assert denoising_discount(4, 0.9).tolist() == pytest.approx([0.729, 0.81, 0.9, 1.0])


def test_advantages_are_normalised_within_the_minibatch() -> None:
    advantage = torch.randn(1000) * 7 + 3
    got = normalized(advantage)
    assert float(got.mean()) == pytest.approx(0, abs=1e-5) and float(got.std()) == pytest.approx(1, abs=1e-5)
    assert torch.equal(got.argsort(), advantage.argsort())


def test_equal_advantages_say_nothing_and_neither_does_a_single_one() -> None:
    assert normalized(torch.full((5,), 3.0)).tolist() == [0.0] * 5
    assert normalized(torch.tensor([3.0])).tolist() == [0.0]


def test_the_clipped_surrogate_by_hand() -> None:
    ratio = torch.tensor([1.3, 1.3, 0.6, 0.6, 1.05])
    advantage = torch.tensor([2.0, -2.0, 2.0, -2.0, 1.0])
    weight = torch.tensor([1.0, 1.0, 0.5, 1.0, 2.0])
    old = torch.tensor([-1.0, 0.0, 0.3, -0.2, 0.5])
    # objective min(r A, clip(r, .8, 1.2) A): 2.4, -2.6, 1.2, -1.6, 1.05
    wanted = -(2.4 - 2.6 + 0.5 * 1.2 - 1.6 + 2 * 1.05) / 5
    loss = ppo_loss(old + ratio.log(), old, advantage, torch.full((5,), 0.2), weight)
    assert float(loss.policy) == pytest.approx(wanted, rel=1e-5)
    assert float(loss.clip_fraction) == pytest.approx(4 / 5)
    assert float(loss.ratio) == pytest.approx(float(ratio.mean()), rel=1e-6)
    assert float(loss.approx_kl) == pytest.approx(float((ratio - 1 - ratio.log()).mean()), rel=1e-5)


def test_clipped_pairs_carry_no_gradient_and_others_that_of_the_policy_gradient() -> None:
    ratio, advantage = torch.tensor([1.3, 0.6, 1.3, 0.6]), torch.tensor([2.0, -2.0, -2.0, 2.0])
    log_prob = ratio.log().requires_grad_()
    ppo_loss(log_prob, torch.zeros(4), advantage, torch.full((4,), 0.2), torch.ones(4)).policy.backward()
    assert log_prob.grad is not None
    assert log_prob.grad.tolist() == pytest.approx([0.0, 0.0, 2.6 / 4, -1.2 / 4], rel=1e-5)


def test_each_denoising_step_has_its_own_clip_range() -> None:
    log_prob = torch.tensor([1.05, 1.05]).log()
    clip = torch.tensor([0.01, 0.1])
    got = ppo_loss(log_prob, torch.zeros(2), torch.ones(2), clip, torch.ones(2))
    assert float(got.policy) == pytest.approx(-(1.01 + 1.05) / 2)
    assert float(got.clip_fraction) == 0.5


def test_the_value_loss_is_half_the_mean_square() -> None:
    assert float(value_loss(torch.tensor([1.0, 3.0]), torch.tensor([0.0, 1.0]))) == pytest.approx(0.5 * (1 + 4) / 2)


def test_shapes_that_would_broadcast_are_refused() -> None:
    one, column = torch.zeros(3), torch.zeros(3, 1)
    with pytest.raises(ValueError, match=r"wanted equal shapes, got \(3, 1\) and \(3,\)"):
        value_loss(column, one)
    with pytest.raises(ValueError, match="wanted equal shapes"):
        ppo_loss(one, one, column, one, one)
