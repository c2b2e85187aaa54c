from collections import Counter
from typing import Any

import pytest
import torch

from d2ppo_core.config.finetune import PpoConfig
from d2ppo_core.finetune.minibatch import Minibatch, minibatches, step_probability


def epoch(num_obs: int, num_steps: int, seed: int = 0, **options: Any) -> list[Minibatch]:
    return list(minibatches(num_obs, num_steps, PpoConfig(**options), torch.Generator().manual_seed(seed)))


def pairs_of(batches: list[Minibatch]) -> list[tuple[int, int]]:
    return [pair for b in batches for pair in zip(b.pair_obs.tolist(), b.step.tolist(), strict=True)]


@pytest.mark.parametrize("grouping", ["pairs", "observations"])
@pytest.mark.parametrize("size", [10, 64, 1000])
def test_an_epoch_holds_every_pair_once(grouping: str, size: int) -> None:
    batches = epoch(37, 5, grouping=grouping, minibatch_pairs=size)
    pairs = pairs_of(batches)
    assert sorted(pairs) == [(obs, step) for obs in range(37) for step in range(5)]
    assert pairs != sorted(pairs)
    assert all(torch.equal(b.weight, torch.ones(len(b.step))) for b in batches)


@pytest.mark.parametrize("grouping", ["pairs", "observations"])
def test_minibatches_are_nearly_equal_and_none_is_larger_than_wanted(grouping: str) -> None:
    sizes = [len(b.step) for b in epoch(101, 5, grouping=grouping, minibatch_pairs=100)]
    assert sum(sizes) == 505 and max(sizes) <= 100 and max(sizes) - min(sizes) <= 5


@pytest.mark.parametrize("grouping", ["pairs", "observations"])
def test_each_observation_of_a_minibatch_is_listed_once(grouping: str) -> None:
    for batch in epoch(20, 5, grouping=grouping, minibatch_pairs=30):
        assert len(batch.obs.unique()) == len(batch.obs)
        assert set(batch.row.tolist()) == set(range(len(batch.obs)))


def test_minibatches_of_pairs_mix_observations_and_steps() -> None:
    batch = epoch(1000, 5, minibatch_pairs=500)[0]
    assert len(batch.obs) > 300
    assert min(Counter(batch.step.tolist()).values()) > 60


def test_minibatches_of_observations_bring_all_their_steps_in_order() -> None:
    for batch in epoch(11, 4, grouping="observations", minibatch_pairs=12):
        assert batch.step.tolist() == [0, 1, 2, 3] * len(batch.obs)
        assert batch.row.tolist() == [i for i in range(len(batch.obs)) for _ in range(4)]


@pytest.mark.parametrize("grouping", ["pairs", "observations"])
def test_a_critic_with_batches_of_its_own_sees_every_observation_once_per_epoch(grouping: str) -> None:
    batches = epoch(37, 5, grouping=grouping, critic_batches="own", minibatch_pairs=30)
    assert sorted(i for b in batches for i in b.value_obs.tolist()) == list(range(37))
    assert all(len(b.value_obs) for b in batches)


def test_a_sharing_critic_sees_the_observations_of_the_pairs() -> None:
    for batch in epoch(37, 5, critic_batches="shared", minibatch_pairs=30):
        assert torch.equal(batch.value_obs, batch.obs)


@pytest.mark.parametrize("grouping", ["pairs", "observations"])
def test_the_generator_decides(grouping: str) -> None:
    options = {"grouping": grouping, "minibatch_pairs": 30, "steps_per_observation": 2}
    one, same, other = (pairs_of(epoch(20, 5, seed=s, **options)) for s in (0, 0, 1))
    assert one == same != other


def test_later_steps_are_drawn_more_often_in_proportion_to_their_discount() -> None:
    probability = step_probability(5, 0.5)
    assert probability.tolist() == pytest.approx([1 / 31, 2 / 31, 4 / 31, 8 / 31, 16 / 31])


@pytest.mark.parametrize("grouping", ["pairs", "observations"])
def test_drawn_steps_estimate_the_mean_over_all_steps_without_bias(grouping: str) -> None:
    value = torch.randn(40, 6, generator=torch.Generator().manual_seed(9)) + torch.arange(6)
    options = {"grouping": grouping, "steps_per_observation": 2, "gamma_denoising": 0.7, "minibatch_pairs": 24}
    estimates, weights = [], []
    for seed in range(1500):
        batches = epoch(40, 6, seed=seed, **options)
        assert sum(len(b.step) for b in batches) == 80
        weight = torch.cat([b.weight for b in batches])
        drawn = torch.cat([value[b.pair_obs, b.step] for b in batches])
        estimates.append(float((weight * drawn).mean()))
        weights.append(float(weight.mean()))
    error = torch.tensor(estimates).std() / 1500**0.5
    assert abs(torch.tensor(estimates).mean() - value.mean()) < 4 * error
    assert error < 0.01
    assert sum(weights) / 1500 == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(("pairs", "parts"), [(0, 1), (3, 7), (10, 4), (1000, 1)])
def test_micro_batches_cut_a_minibatch_between_observations(pairs: int, parts: int) -> None:
    (batch,) = epoch(7, 5, grouping="observations", minibatch_pairs=35)
    found = list(batch.split(pairs))
    assert len(found) == parts
    for name in ("obs", "pair_obs", "step", "weight", "value_obs"):
        assert torch.equal(torch.cat([getattr(part, name) for part, _ in found]), getattr(batch, name)), name
    for part, where in found:
        assert torch.equal(batch.pair_obs[where], part.pair_obs)
