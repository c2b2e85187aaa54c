import pytest
import torch

from d2ppo_core.losses.denoising import denoising_loss


def test_loss_is_the_mean_squared_error() -> None:
    predicted, eps = torch.randn(5, 28, dtype=torch.float64), torch.randn(5, 28, dtype=torch.float64)
    assert float(denoising_loss(predicted, eps)) == pytest.approx(float(((predicted - eps) ** 2).mean()), rel=1e-6)


def test_perfect_prediction_costs_nothing() -> None:
    eps = torch.randn(3, 7)
    assert float(denoising_loss(eps, eps)) == 0.0


def test_half_precision_is_summed_in_float32() -> None:
    assert denoising_loss(torch.ones(4, 4, dtype=torch.bfloat16), torch.zeros(4, 4)).dtype == torch.float32


def test_shapes_that_would_broadcast_are_refused() -> None:
    with pytest.raises(ValueError, match="wanted equal shapes"):
        denoising_loss(torch.zeros(4, 1), torch.zeros(4, 7))
