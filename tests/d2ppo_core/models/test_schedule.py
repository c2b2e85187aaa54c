import numpy as np
import pytest

from d2ppo_core.models.schedule import cosine_alpha_bar, ddim_steps, denoising_times, tuned_below


@pytest.mark.parametrize("length", [20, 100])
def test_signal_share_falls_from_nearly_one_to_nearly_zero(length: int) -> None:
    alpha_bar = cosine_alpha_bar(length)
    assert alpha_bar.shape == (length,) and (np.diff(alpha_bar) < 0).all()
    assert alpha_bar[0] > 0.98 and 0 < alpha_bar[-1] < 1e-4


def test_signal_share_follows_the_cosine_where_betas_are_not_clipped() -> None:
    t = 50
    wanted = np.cos((0.5 + 0.008) / 1.008 * np.pi / 2) ** 2 / np.cos(0.008 / 1.008 * np.pi / 2) ** 2
    assert cosine_alpha_bar(100)[t - 1] == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize(
    ("count", "trailing", "leading"),
    [(1, (19,), (0,)), (2, (19, 9), (10, 0)), (5, (19, 15, 11, 7, 3), (16, 12, 8, 4, 0)),
     (10, tuple(range(19, 0, -2)), tuple(range(18, -1, -2))), (20, tuple(range(19, -1, -1)), tuple(range(19, -1, -1)))],
)  # fmt: skip
def test_trailing_times_begin_at_pure_noise_as_published_and_leading_ones_end_at_zero(count, trailing, leading) -> None:
    assert denoising_times(20, count, "trailing") == trailing
    assert denoising_times(20, count, "leading") == leading
    middle = denoising_times(20, count, "centred")
    assert all(a >= m >= b and abs((a - m) - (m - b)) <= 1 for a, m, b in zip(trailing, middle, leading, strict=True))
    published = np.round(np.arange(20, 0, -20 / count)) - 1  # Lin et al. 2024, section 3.3
    assert trailing == tuple(published.astype(int))


@pytest.mark.parametrize("spacing", ["trailing", "leading", "centred"])
@pytest.mark.parametrize("count", [1, 2, 5, 10, 20])
def test_the_last_steps_and_no_others_lie_below_the_bound(count: int, spacing: str) -> None:
    times = denoising_times(20, count, spacing)
    for tuned in range(1, count + 1):
        assert [t < tuned_below(20, count, tuned) for t in times] == [False] * (count - tuned) + [True] * tuned


def test_unknown_times_are_refused() -> None:
    with pytest.raises(ValueError, match="wanted trailing or leading or centred times, got 'linspace'"):
        denoising_times(20, 10, "linspace")


@pytest.mark.parametrize("spacing", ["trailing", "leading", "centred"])
def test_steps_run_from_noisy_to_clean_and_end_in_x0(spacing: str) -> None:
    steps = ddim_steps(100, 10, spacing=spacing)
    assert tuple(step.t for step in steps) == denoising_times(100, 10, spacing)
    assert steps[-1].alpha_bar_next == 1.0 and steps[-1].direction == 0.0
    for earlier, later in zip(steps, steps[1:], strict=False):
        assert earlier.alpha_bar_next == later.alpha_bar


def test_without_eta_no_noise_is_added() -> None:
    assert all(step.sigma == 0 for step in ddim_steps(20, 5, spacing="trailing"))


def test_with_eta_one_and_all_steps_the_noise_is_the_ddpm_posterior() -> None:
    alpha_bar = cosine_alpha_bar(20)
    step = ddim_steps(20, 20, spacing="trailing", eta=1.0)[5]
    t = step.t
    beta = 1 - alpha_bar[t] / alpha_bar[t - 1]
    assert step.sigma**2 == pytest.approx(beta * (1 - alpha_bar[t - 1]) / (1 - alpha_bar[t]), rel=1e-9)


@pytest.mark.parametrize("count", [0, 3, 21])
def test_a_number_of_steps_that_does_not_divide_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match="dividing T"):
        ddim_steps(20, count, spacing="trailing")
