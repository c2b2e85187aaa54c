import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from d2ppo_core.analysis.features import WEIGHTS, extract, measure_dispersion, policies
from d2ppo_core.analysis.samples import Sample
from d2ppo_core.config.schema import TAPS
from d2ppo_core.data.windows import load_windows
from d2ppo_core.pretrain.checkpoint import Checkpoint
from d2ppo_core.pretrain.trainer import Trainer


def test_the_initial_weights_are_those_that_the_run_started_from(saved: Checkpoint, dataset: Path) -> None:
    windows, validation = load_windows(dataset, saved.config.data)
    fresh = Trainer(saved.config, windows, validation, {"sha256": "x"}).policy.state_dict()
    initial = policies(saved)["initial"].state_dict()
    assert fresh.keys() == initial.keys()
    assert all(torch.equal(fresh[name], initial[name]) for name in fresh)


def test_weights_after_training_are_the_checkpoints_and_drawing_again_leaves_the_generator_alone(
    saved: Checkpoint,
) -> None:
    state = torch.get_rng_state()
    built = policies(saved)
    assert torch.equal(state, torch.get_rng_state())
    assert tuple(built) == WEIGHTS
    for weights, wanted in (("trained", saved.model), ("averaged", saved.ema)):
        parameters = dict(built[weights].named_parameters())
        assert all(torch.equal(parameters[name], wanted[name]) for name in parameters)


def test_under_a_common_noise_equal_observations_have_equal_features(saved: Checkpoint, sample: Sample) -> None:
    same = dataclasses.replace(sample, state=np.repeat(sample.state[:1], len(sample), axis=0))
    features = extract(policies(saved)["trained"], same, draws=2, seed=0)
    dispersion = measure_dispersion(features)
    for tap in TAPS:
        assert dispersion["observation"][tap].distance == pytest.approx(0, abs=1e-5)
    for tap in TAPS[1:]:  # with noise and time steps of their own they look spread, though nothing distinguishes them
        assert dispersion["training"][tap].distance > 0.1
        assert not np.array_equal(features.observation[0][tap], features.observation[1][tap])


def test_features_depend_on_the_seed_alone(saved: Checkpoint, sample: Sample) -> None:
    policy = policies(saved)["trained"]
    one, again, other = (extract(policy, sample, draws=1, seed=seed).training["late"] for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


def test_the_encoder_of_a_state_policy_hands_the_observation_through(saved: Checkpoint, sample: Sample) -> None:
    features = extract(policies(saved)["initial"], sample, draws=1, seed=0)
    np.testing.assert_array_equal(features.observation[0]["encoder"], sample.state)
    np.testing.assert_array_equal(features.training["encoder"], sample.state)
