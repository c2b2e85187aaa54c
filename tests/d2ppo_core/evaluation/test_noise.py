"""Noise by seed and chunk."""

import numpy as np

from d2ppo_core.evaluation.noise import SeededActor, chunk_noise


class Echo:
    """Answers with the noise that it was given."""

    noise_shape = (1, 4, 7)

    def __call__(self, obs: dict[str, np.ndarray], noise: np.ndarray) -> np.ndarray:
        return noise[:, 0]


def test_noise_is_standard_normal_and_differs_between_seeds_and_chunks() -> None:
    drawn = np.stack([chunk_noise(seed, chunk, (4, 7)) for seed in range(40) for chunk in range(10)])
    assert len(np.unique(drawn.reshape(400, -1), axis=0)) == 400
    assert abs(drawn.mean()) < 0.03 and abs(drawn.std() - 1) < 0.03
    assert abs(np.corrcoef(drawn.reshape(400, -1).T) - np.eye(28)).max() < 0.25


def test_more_draws_begin_with_the_same_ones() -> None:
    np.testing.assert_array_equal(chunk_noise(5, 2, (21, 4, 7))[0], chunk_noise(5, 2, (1, 4, 7))[0])


def test_noise_is_not_the_worlds_own_randomness() -> None:
    for chunk in (0, 1):
        world = np.random.default_rng(7).standard_normal((4, 7), dtype=np.float32)
        assert not np.array_equal(chunk_noise(7, chunk, (4, 7)), world)


def test_an_episode_gets_its_noise_in_any_world_and_beside_any_others() -> None:
    actor = SeededActor(Echo(), 3)
    actor.begin([0, 2], [11, 12])
    first = actor({})
    actor.begin([0], [13])
    second = actor({})
    np.testing.assert_array_equal(first[[0, 2]], [chunk_noise(11, 0, (4, 7)), chunk_noise(12, 0, (4, 7))])
    np.testing.assert_array_equal(second[[0, 2]], [chunk_noise(13, 0, (4, 7)), chunk_noise(12, 1, (4, 7))])
    assert not first[1].any() and not second[1].any(), "no episode was begun there"
