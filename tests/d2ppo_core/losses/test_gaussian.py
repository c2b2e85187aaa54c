import pytest
import torch

from d2ppo_core.losses.gaussian import negative_log_likelihood


def test_the_loss_is_the_negative_log_density_of_each_entry() -> None:
    torch.manual_seed(0)
    mean, target, std = torch.randn(5, 3), torch.randn(5, 3), torch.tensor([0.1, 1.0, 3.0])
    wanted = -torch.distributions.Normal(mean, std).log_prob(target)
    torch.testing.assert_close(negative_log_likelihood(mean, std, target), wanted)


def test_the_std_that_fits_best_is_the_spread_of_the_errors() -> None:
    torch.manual_seed(0)
    errors = 0.3 * torch.randn(4000, 1)
    losses = [float(negative_log_likelihood(errors, torch.tensor([s]), torch.zeros(4000, 1)).mean()) for s in
              (0.2, 0.29, 0.3, 0.31, 0.4)]  # fmt: skip
    assert min(losses) == losses[2]


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"wanted mean and target \(B, D\) and std \(D,\)"):
        negative_log_likelihood(torch.zeros(2, 3), torch.ones(2), torch.zeros(2, 3))
