import dataclasses
import math

import numpy as np
import pytest

from d2ppo_core.analysis.features import Features
from d2ppo_core.analysis.pairs import CONTRAST, ClosePairs, Resampling, find_pairs, measure_pairs
from d2ppo_core.analysis.samples import Sample
from d2ppo_core.config.schema import TAPS


def make_sample(state: np.ndarray, chunks: np.ndarray, episode: list[int]) -> Sample:
    return Sample(
        state=state.astype(np.float32),
        chunks=chunks.astype(np.float32)[:, None],
        images=None,
        episode=np.array(episode),
        progress=np.zeros(len(state)),
        available=len(state),
    )


@pytest.fixture
def random_sample() -> Sample:
    rng = np.random.default_rng(0)
    return make_sample(rng.normal(size=(48, 3)), rng.normal(size=(48, 2)), [i // 6 for i in range(48)])


def constant(z: np.ndarray) -> Features:
    taps = {tap: z.astype(np.float32) for tap in TAPS}
    return Features(observation=(taps,), training=taps)


def test_look_alikes_with_different_and_with_like_actions_are_told_apart() -> None:
    # Windows 0, 1, 2 look alike in three episodes; 2 needs another action. Window 3 is a copy of 0 in its own episode.
    state = np.array([[0, 0], [0.1, 0], [0, 0.1], [0, 0], [9, 9], [-9, 5]])
    chunks = np.array([[1.0], [1.1], [-1.0], [-5.0], [0], [0]])
    pairs = find_pairs(make_sample(state, chunks, [0, 1, 2, 0, 1, 2]), closest=0.5, share=0.2)
    assert pairs is not None
    assert {frozenset(pair) for pair in pairs.different.tolist()} == {frozenset((1, 3))}
    assert {frozenset(pair) for pair in pairs.alike.tolist()} == {frozenset((0, 1))}


def test_no_pair_lies_within_an_episode(random_sample: Sample) -> None:
    pairs = find_pairs(random_sample, closest=1.0, share=1.0)
    assert pairs is not None and len(pairs.different) == 48 * 42 // 2
    assert (random_sample.episode[pairs.different[:, 0]] != random_sample.episode[pairs.different[:, 1]]).all()


def test_one_episode_has_no_pairs(random_sample: Sample) -> None:
    alone = dataclasses.replace(random_sample, episode=np.zeros(48, dtype=np.int64))
    assert find_pairs(alone, closest=0.1) is None
    assert measure_pairs(alone, {"initial": constant(alone.state)}, closest=0.1, seed=0) is None


def test_ratios_do_not_depend_on_the_scale_and_are_those_of_the_observations_for_equal_features(
    random_sample: Sample,
) -> None:
    z = random_sample.state
    report = measure_pairs(random_sample, {"initial": constant(z), "trained": constant(7 * z)}, closest=0.05, seed=0)
    assert report is not None
    for group in ("different", "alike"):
        wanted = report.observation[group]
        assert 0 < wanted.low <= wanted.value <= wanted.high < 1
        for weights in ("initial", "trained"):
            got = report.features[group][weights]["mid"]
            assert (got.value, got.low, got.high) == pytest.approx((wanted.value, wanted.low, wanted.high), rel=1e-5)
        change = report.change[group]["trained"]["mid"]
        assert (change.value, change.low, change.high) == pytest.approx((1, 1, 1), rel=1e-5)


def test_collapsed_look_alikes_show_and_so_does_their_separation(random_sample: Sample) -> None:
    pairs = find_pairs(random_sample, closest=0.02, share=0.2)
    assert pairs is not None
    collapsed = random_sample.state.copy()
    collapsed[np.unique(pairs.different)] = 0
    by_action = np.hstack([random_sample.state, 20 * random_sample.chunks[:, 0]])
    features = {"initial": constant(collapsed), "trained": constant(by_action)}
    report = measure_pairs(random_sample, features, closest=0.02, seed=0)
    assert report is not None
    before, after = (report.features["different"][w]["late"].value for w in features)
    assert before == 0 and after > 1
    contrast = report.features[CONTRAST]["trained"]["late"]
    assert contrast.value > 3 and contrast.low > 1
    assert math.isnan(report.change["different"]["trained"]["late"].value)  # nothing can be divided by 0


def test_drawn_ratios_are_those_of_a_dataset_with_each_episode_as_often_as_it_was_drawn(random_sample: Sample) -> None:
    pairs = find_pairs(random_sample, closest=0.2, share=0.5)
    assert pairs is not None
    resampling = Resampling(random_sample.episode, pairs, seed=1)
    distances = np.linalg.norm(random_sample.state[:, None] - random_sample.state[None], axis=-1)
    got = resampling.ratios(distances)["different"]
    counts = np.random.default_rng(1).multinomial(8, np.full(8, 1 / 8), size=2)
    for row, weights in enumerate([np.ones(8), *counts]):
        weight = weights[random_sample.episode]
        weight = weight[:, None] * weight[None] * (random_sample.episode[:, None] != random_sample.episode[None])
        i, j = pairs.different.T
        wanted = np.average(distances[i, j], weights=weight[i, j]) / np.average(distances, weights=weight)
        assert got[row] == pytest.approx(wanted)


def test_few_episodes_give_a_figure_without_an_interval() -> None:
    pairs = ClosePairs(different=np.array([[0, 1]]), alike=np.array([[0, 1]]))
    estimate = Resampling(np.array([0, 1]), pairs, seed=0).estimate(np.array([0.5, 0.4, 0.6]))
    assert estimate.value == 0.5 and math.isnan(estimate.low) and math.isnan(estimate.high)
