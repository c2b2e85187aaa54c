import numpy as np
import pytest

from calibration.chain import Chain, Linear
from calibration.estimate import Noise, held_out, interval_factor, likely_noise, pixel_sd, robust_fit, solve

from .synthetic import CAMERA, scene


def linear_of(seed: int, **noise: float) -> Linear:
    """A chain that stands at the truth, by view: what is left is noise."""
    made = scene(seed, 40, **noise)
    return Chain.of(made.hands, made.detections, CAMERA, made.X, made.Z).linear()


def test_the_noise_of_pixels_and_hand_is_told_apart() -> None:
    linear = linear_of(0, pixel_sd=0.3, hand_m=0.0005, hand_rad=0.001)
    assert pixel_sd(linear) == pytest.approx(0.3, rel=0.03)
    for noise in (
        likely_noise(linear, linear.A[:, :, :12], Noise(0.3, 1e-4, 1e-4)),
        robust_fit(linear, linear.A).noise,
    ):
        assert noise.hand_m == pytest.approx(0.0005, rel=0.35)
        assert noise.hand_rad == pytest.approx(0.001, rel=0.35)


def test_where_the_hand_is_perfect_its_noise_is_next_to_nothing() -> None:
    linear = linear_of(1, pixel_sd=0.3)
    noise = likely_noise(linear, linear.A[:, :, :12], Noise(0.3, 1e-3, 1e-3))
    assert noise.hand_m < 1e-4 and noise.hand_rad < 2e-4


def test_the_residuals_are_as_large_as_their_covariance_says() -> None:
    linear = linear_of(2, pixel_sd=0.3, hand_m=0.0005, hand_rad=0.001)
    fit = solve(linear, linear.A[:, :, :12], Noise(0.3, 0.0005, 0.001))
    assert fit.squared.sum() == pytest.approx(6 * 40 - 12, rel=0.25)


def test_leaving_a_view_out_is_what_solving_without_it_gives() -> None:
    linear, noise = linear_of(3, hand_m=0.0003), Noise(0.3, 0.0003, 1e-5)
    A = linear.A[:, :, :12]
    off_mm, off_deg = held_out(linear, A, noise)
    rest = np.arange(40) != 7
    others = Linear(linear.y[rest], A[rest], linear.information[rest], 1.0, 1, linear.lever_m[rest])
    left = linear.y[7] + A[7] @ solve(others, others.A, noise).step
    assert off_mm[7] == pytest.approx(1000 * np.linalg.norm(left[:3] + np.cross(left[3:], linear.lever_m[7])), rel=1e-6)
    assert off_deg[7] == pytest.approx(np.degrees(np.linalg.norm(left[3:])), rel=1e-6)


def test_a_view_that_contradicts_has_hardly_a_say() -> None:
    linear = linear_of(4, pixel_sd=0.3)
    before = robust_fit(linear, linear.A[:, :, :12])
    linear.y[5, :3] += 0.02
    after = robust_fit(linear, linear.A[:, :, :12])
    assert np.linalg.norm(after.step - before.step) < 1e-4
    assert after.squared[5] > 1000 > np.delete(after.squared, 5).max()


def test_few_views_reach_further() -> None:
    assert interval_factor(15, 12) == pytest.approx(2.160, abs=0.001)
    assert interval_factor(5, 12) > interval_factor(15, 12) > interval_factor(1000, 12) > 1.95
