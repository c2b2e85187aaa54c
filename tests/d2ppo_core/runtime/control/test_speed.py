"""The speed scale changes smoothly and its time adds up."""

import numpy as np
import pytest

from d2ppo_core.errors import ConfigError
from d2ppo_core.runtime.control.speed import SpeedScale

MS = 1_000_000


def test_at_a_constant_scale_time_passes_in_proportion():
    speed = SpeedScale(0.25)
    now = 1_763_000_000_000_000_000
    assert speed.elapsed_s(now, now + 400 * MS) == pytest.approx(0.1, abs=1e-12)
    assert speed.elapsed_s(now + 400 * MS, now) == pytest.approx(-0.1, abs=1e-12)
    assert speed.at(now) == (0.25, 0.0)


def test_a_change_is_smooth_and_settles_within_a_second():
    speed = SpeedScale(1.0)
    speed.set(0.0, 1000 * MS)
    times = np.arange(900, 2500) * MS
    scales, rates = np.array([speed.at(int(t)) for t in times]).T
    assert scales[0] == 1.0 and abs(scales[times > 2000 * MS]).max() < 1e-3
    np.testing.assert_allclose(np.diff(scales) / 1e-3, rates[1:], atol=0.06)
    assert np.abs(np.diff(rates)).max() < 0.11, "the rate jumped"
    assert (np.diff(scales) <= 1e-12).all()


def test_scaled_time_is_the_integral_of_the_scale_over_any_changes():
    rng = np.random.default_rng(0)
    speed, now, passed = SpeedScale(0.7), 0, [0.0]
    scales = []
    for _ in range(40):
        speed.set(float(rng.uniform()), now)
        for _ in range(int(rng.integers(5, 200))):
            before, now = speed.at(now)[0], now + MS
            after = speed.at(now)[0]
            scales.append(after)
            passed.append(passed[-1] + 0.5e-3 * (before + after))
    assert 0.0 <= min(scales) and max(scales) <= 1.0, "a scale never leaves [0, 1], however it is changed"
    assert speed.elapsed_s(0, now) == pytest.approx(passed[-1], abs=1e-4)
    half = now // 2 // MS * MS
    assert speed.elapsed_s(half, now) == pytest.approx(passed[-1] - passed[half // MS], abs=1e-4)


@pytest.mark.parametrize("scale", [-0.1, 1.1, float("nan")])
def test_a_scale_that_is_none_is_refused(scale):
    with pytest.raises(ConfigError, match=r"speed_scale must lie in \[0, 1\]"):
        SpeedScale().set(scale, 0)
    with pytest.raises(ConfigError, match=r"speed_scale must lie in \[0, 1\]"):
        SpeedScale(scale)
