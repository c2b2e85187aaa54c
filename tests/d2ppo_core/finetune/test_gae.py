import json

import numpy as np
import pytest
from numpy.typing import NDArray

from d2ppo_core.finetune.gae import RewardScale, gae

Floats = NDArray[np.float32]


def drawn(chunks: int = 30, worlds: int = 4) -> tuple[Floats, Floats, Floats, NDArray[np.bool_], NDArray[np.bool_]]:
    """Rewards, values, next values, terminated, truncated."""
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(3, chunks, worlds)).astype(np.float32)
    terminated = rng.random((chunks, worlds)) < 0.1
    truncated = (rng.random((chunks, worlds)) < 0.1) & ~terminated
    return numbers[0], numbers[1], numbers[2], terminated, truncated


def test_it_equals_the_sum_of_discounted_errors_within_each_episode() -> None:
    rewards, values, next_values, terminated, truncated = drawn()
    assert terminated.any() and truncated.any()
    gamma, decay = 0.99, 0.9
    got = gae(rewards, values, next_values, terminated, terminated | truncated, gamma=gamma, gae_lambda=decay)
    for n in range(4):
        for t in range(30):
            wanted, factor = 0.0, 1.0
            for s in range(t, 30):
                beyond = 0.0 if terminated[s, n] else gamma * float(next_values[s, n])
                wanted += factor * (float(rewards[s, n]) + beyond - float(values[s, n]))
                factor *= gamma * decay
                if terminated[s, n] or truncated[s, n]:
                    break
            assert got.advantages[t, n] == pytest.approx(wanted, abs=1e-5)
            assert got.returns[t, n] == pytest.approx(wanted + values[t, n], abs=1e-5)


def test_with_lambda_one_returns_are_discounted_rewards_and_the_last_value() -> None:
    rewards, values, _, _, _ = drawn()
    never = np.zeros_like(rewards, dtype=bool)
    next_values = np.concatenate([values[1:], np.full_like(values[:1], 7.0)])
    got = gae(rewards, values, next_values, never, never, gamma=0.9, gae_lambda=1.0)
    wanted = sum(0.9**t * rewards[t].astype(float) for t in range(30)) + 0.9**30 * 7.0
    np.testing.assert_allclose(got.returns[0], wanted, atol=1e-5)


def test_nothing_passes_from_an_episode_to_the_one_before() -> None:
    rewards, values, next_values, _, _ = drawn()
    ended = np.zeros_like(rewards, dtype=bool)
    ended[10] = True
    options = {"gamma": 0.99, "gae_lambda": 0.95}
    before = gae(rewards, values, next_values, ~ended & ended, ended, **options)
    rewards[11:] += 100.0
    after = gae(rewards, values, next_values, ~ended & ended, ended, **options)
    np.testing.assert_array_equal(before.advantages[:11], after.advantages[:11])
    assert (after.advantages[11:] > before.advantages[11:] + 50).all()


def test_shapes_that_would_broadcast_are_refused() -> None:
    rewards, values, next_values, terminated, truncated = drawn()
    with pytest.raises(ValueError, match=r"equal shape \(C, N\)"):
        gae(rewards, values, next_values[:1], terminated, truncated, gamma=0.9, gae_lambda=0.9)


def rollouts(count: int) -> list[tuple[Floats, NDArray[np.bool_]]]:
    """Rewards and ends (C, N) of several iterations; a rollout begins with new episodes."""
    rng = np.random.default_rng(1)
    return [(rng.gamma(1.0, size=(12, 5)).astype(np.float32), rng.random((12, 5)) < 0.2) for _ in range(count)]


def returns_so_far(taken: list[tuple[Floats, NDArray[np.bool_]]], gamma: float) -> list[float]:
    found = []
    for rewards, ended in taken:
        for n in range(rewards.shape[1]):
            total = 0.0
            for t in range(len(rewards)):
                total = gamma * total + float(rewards[t, n])
                found.append(total)
                if ended[t, n]:
                    total = 0.0
    return found


def test_rewards_are_divided_by_the_deviation_of_all_discounted_returns_so_far() -> None:
    scale, taken = RewardScale(0.9), []
    for rewards, ended in rollouts(3):
        taken.append((rewards, ended))
        got = scale(rewards, ended)
        np.testing.assert_allclose(got, rewards / np.std(returns_so_far(taken, 0.9)), rtol=1e-5)
        assert got.dtype == np.float32


def test_equal_rewards_of_a_rollout_stay_equal_from_the_first_chunk_on() -> None:
    rewards = np.zeros((20, 5), np.float32)
    rewards[[3, 10, 19], [0, 1, 2]] = 1.0
    got = RewardScale(0.99)(rewards, np.zeros((20, 5), bool))
    assert len(np.unique(got)) == 2 and got[3, 0] > 1


def test_no_reward_stays_no_reward_and_the_first_one_ever_is_limited() -> None:
    scale = RewardScale(0.999)
    nothing, never = np.zeros((300, 50), np.float32), np.zeros((300, 50), bool)
    assert not scale(nothing, never).any()
    first = nothing.copy()
    first[-1, 0] = 1.0
    assert scale(first, never).max() == 10.0


def test_a_restored_scale_goes_on_as_if_nothing_had_happened() -> None:
    (one, one_ended), (two, two_ended) = rollouts(2)
    whole, before, after = RewardScale(0.9), RewardScale(0.9), RewardScale(0.9)
    whole(one, one_ended)
    before(one, one_ended)
    after.load_state_dict(json.loads(json.dumps(before.state_dict())))  # plain numbers only: checkpoints take no others
    np.testing.assert_array_equal(whole(two, two_ended), after(two, two_ended))
    assert all(type(value) in (int, float) for value in after.state_dict().values())
