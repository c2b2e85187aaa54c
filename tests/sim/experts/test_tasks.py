"""The demonstrators in the real robosuite: plain and sloppy, one and two arms."""

from itertools import islice

import numpy as np
import pytest

pytest.importorskip("robosuite", reason="robosuite is not installed (pip install --no-deps robosuite==1.5.2)")

from sim.evaluation.film import expert_episode, play
from sim.evaluation.playback import play_back_episode
from sim.experts import EXPERTS
from sim.experts.recording import Recording, attempt
from sim.experts.studio import BATCHED, STUDIOS
from sim.robosuite.env import RobosuiteEnv
from sim.tasks import TASKS

STEPS = {"lift": (30, 80), "can": (100, 260), "square": (90, 300), "transport": (350, 700)}
"""Control steps within which a plain expert is done."""


class Witness:
    """A screen that counts."""

    def __init__(self):
        self.steps = -1

    def show(self, env):
        self.steps += 1


@pytest.fixture(scope="module", params=list(TASKS))
def env(request):
    with RobosuiteEnv(request.param) as env:
        env.name = request.param
        yield env


def test_every_task_has_an_expert():
    assert EXPERTS.keys() == TASKS.keys()


def test_the_plain_expert_solves_its_task_and_leaves_it_solved(env):
    witness = Witness()
    outcome = play(env, expert_episode(env, env.name, 11, None), witness)
    low, high = STEPS[env.name]
    assert outcome.success, f"not solved in {outcome.steps} steps"
    assert low <= outcome.steps <= high
    assert witness.steps <= env.task.horizon_steps and env.is_success()


def test_a_seed_decides_world_style_and_noise(env):
    def states(seed):
        source = expert_episode(env, env.name, seed, 0.6)
        return np.array([env.state() for _ in islice(source, 40)])

    first, other, again = states(3), states(4), states(3)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("worlds", STUDIOS)
def test_a_recorded_attempt_plays_back_and_has_labels_for_all_arms(env, worlds):
    recording = Recording(task=env.name, seed=5, skill_min=0.9, images=False, worlds=worlds)
    with recording.studio() as studio:
        episode = next(e for e in (attempt(studio, recording, index) for index in range(4)) if e is not None)
    arms = env.task.num_robots
    assert episode.actions.shape == episode.labels.shape == (len(episode), 7 * arms)
    assert np.abs(episode.actions).max() <= 1.0 and np.abs(episode.labels).max() <= 1.0
    for arm in range(arms):
        assert set(np.unique(episode.actions[:, 7 * arm + 6])) == {-1.0, 1.0}
        assert not np.array_equal(episode.actions[:, 7 * arm], episode.labels[:, 7 * arm])
    assert set(env.task.low_dim_keys) <= set(episode.observations)
    success, error = play_back_episode(env, episode)
    assert success and (worlds == BATCHED or error < 1e-6)
