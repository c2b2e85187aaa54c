import numpy as np
import pytest

from d2ppo_core.models.schedule import cosine_alpha_bar, ddim_steps


@pytest.mark.parametrize("length", [20, 100])
def test_signal_share_falls_from_nearly_one_to_nearly_zero(length: int) -> None:
    alpha_bar = cosine_alpha_bar(length)
    assert alpha_bar.shape == (length,) and (np.diff(alpha_bar) < 0).all()
    assert alpha_bar[0] > 0.98 and 0 < alpha_bar[-1] < 1e-4


def test_signal_share_follows_the_cosine_where_betas_are_not_clipped() -> None:
    t = 50
    wanted = np.cos((0.5 + 0.008) / 1.008 * np.pi / 2) ** 2 / np.cos(0.008 / 1.008 * np.pi / 2) ** 2
    assert cosine_alpha_bar(100)[t - 1] == pytest.approx(wanted, rel=1e-9)


def test_steps_run_from_noisy_to_clean_and_end_in_x0() -> None:
    steps = ddim_steps(100, 10)
    assert [step.t for step in steps] == [90, 80, 70, 60, 50, 40, 30, 20, 10, 0]
    assert steps[-1].alpha_bar_next == 1.0 and steps[-1].direction == 0.0
    for earlier, later in zip(steps, steps[1:], strict=False):
        assert earlier.alpha_bar_next == later.alpha_bar


def test_without_eta_no_noise_is_added() -> None:
    assert all(step.sigma == 0 for step in ddim_steps(20, 5))


def test_with_eta_one_and_all_steps_the_noise_is_the_ddpm_posterior() -> None:
    alpha_bar = cosine_alpha_bar(20)
    step = ddim_steps(20, 20, eta=1.0)[5]
    t = step.t
    beta = 1 - alpha_bar[t] / alpha_bar[t - 1]
    assert step.sigma**2 == pytest.approx(beta * (1 - alpha_bar[t - 1]) / (1 - alpha_bar[t]), rel=1e-9)


@pytest.mark.parametrize("count", [0, 3, 21])
def test_a_number_of_steps_that_does_not_divide_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match="dividing T"):
        ddim_steps(20, count)
