import math

import pytest
import torch

from d2ppo_core.losses.weighted import regression_weight, weighted_loss


def test_a_weight_is_the_exponential_of_the_score_up_to_its_limit() -> None:
    score = torch.tensor([-1.0, 0.0, 0.5, 1.0, 3.0])
    wanted = [min(math.exp(2 * float(s)), 5.0) for s in score]
    assert regression_weight(score, beta=2.0, max_weight=5.0).tolist() == pytest.approx(wanted)


def test_huge_scores_do_not_overflow() -> None:
    weight = regression_weight(torch.tensor([1e6, -1e6]), beta=10.0, max_weight=100.0)
    assert weight.tolist() == pytest.approx([100.0, 0.0])


def test_the_loss_is_the_mean_of_weighted_errors() -> None:
    errors = torch.tensor([1.0, 2.0, 4.0], requires_grad=True)
    loss = weighted_loss(errors, torch.tensor([0.0, 1.0, 3.0]))
    loss.backward()
    assert loss.item() == pytest.approx(14 / 3) and errors.grad is not None
    assert errors.grad.tolist() == pytest.approx([0, 1 / 3, 1])


def test_shapes_that_would_broadcast_are_refused() -> None:
    with pytest.raises(ValueError, match=r"wanted equal shapes, got \(3, 1\) and \(3,\)"):
        weighted_loss(torch.zeros(3, 1), torch.zeros(3))
