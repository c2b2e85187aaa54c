"""Chunks that come late."""

import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from d2ppo_core.actions import rotations_from_6d
from d2ppo_core.evaluation.late import LateActor, delay_of
from d2ppo_core.evaluation.noise import SeededActor
from d2ppo_core.geometry import RigidState, transform_from
from d2ppo_core.manifest import ActionSpec
from d2ppo_core.representations import EE_ABSOLUTE, OSC_DELTA
from d2ppo_core.runtime.inference.osc import targets_from_deltas

BASES = np.eye(3)[None]
DOWN = (1.0, 0.0, 0.0, 0.0)


class Counting:
    """Goals whose height says of which chunk (hundreds) and which action of it (ones) they are."""

    noise_shape = (1, 6, 10)

    def __init__(self):
        self.asked = 0

    def __call__(self, obs, noise):
        chunks = np.zeros((len(noise), 6, 10))
        chunks[..., 2] = 100 * self.asked + np.arange(6)
        chunks[..., 3] = chunks[..., 7] = 1.0
        self.asked += 1
        return chunks


def shown(worlds=1, height_m=-1.0):
    position = np.tile([0.0, 0.0, height_m], (worlds, 1))
    return {"robot0_eef_pos": position, "robot0_eef_quat": np.tile(DOWN, (worlds, 1))}


def late(delay, sampler, worlds=1, representation=EE_ABSOLUTE):
    actor = LateActor(
        SeededActor(sampler, worlds), worlds, action_horizon=4, representation=representation,
        delay=delay_of(delay), bases=lambda: BASES,
    )  # fmt: skip
    actor.begin(range(worlds), range(worlds))
    return actor


HOLD = -1.0
FOLLOWED = {
    "0": [0, 1, 2, 3, 100, 101, 102, 103, 200, 201, 202, 203],
    "50": [HOLD, 1, 2, 3, 4, 101, 102, 103, 104, 201, 202, 203],
    "60": [HOLD, HOLD, 2, 3, 4, 5, 102, 103, 104, 105, 202, 203],  # arrives between two ticks
    "200": [HOLD] * 4 + [4, 5, 5, 5] + [104, 105, 105, 105],  # past its end the last goal stays
    "250": [HOLD] * 5 + [5, 5, 5, 5] + [105, 105, 105],
}


@pytest.mark.parametrize("delay", FOLLOWED)
def test_the_newest_chunk_that_has_arrived_is_followed_from_where_its_time_is(delay):
    actor = late(delay, Counting())
    heights = np.concatenate([actor(shown())[0, :, 2] for _ in range(3)])
    assert heights.tolist() == FOLLOWED[delay]


def test_an_episode_that_begins_follows_no_chunk_of_the_one_before_and_others_go_on():
    actor = late("200", Counting(), worlds=2)
    actor(shown(2))
    actor.begin([1], [7])
    heights = actor(shown(2, height_m=-2.0))[..., 2]
    assert heights.tolist() == [[4, 5, 5, 5], [-2.0] * 4]
    for _ in range(20):
        actor(shown(2))
    assert len(actor._plans) <= 2, "plans that nobody follows are kept"


def test_latencies_are_drawn_from_a_live_record_by_the_episodes_seed(tmp_path):
    record = tmp_path / "evaluation.json"
    timings = [{"received_ms": 5.0, "published_ms": ms} for ms in (10.0, 240.0)]
    record.write_text(json.dumps({"episodes": [{"timings": timings}]}))
    runs = []
    for _ in range(2):
        actor = late(str(record), Counting(), worlds=3)
        runs.append(np.concatenate([actor(shown(3))[..., 2] for _ in range(6)], axis=1))
    np.testing.assert_array_equal(*runs)
    assert not np.array_equal(runs[0][0], runs[0][1]), "each world draws its own"


class Deltas:
    """The same chunk whenever asked."""

    noise_shape = (1, 4, 7)

    def __init__(self, chunk):
        self.chunk = chunk

    def __call__(self, obs, noise):
        return np.tile(self.chunk, (len(noise), 1, 1))


def test_deltas_become_the_goals_that_the_deployed_planner_pursues():
    """Driven by these goals, an arm that obeys the law passes through the planner's targets."""
    chunk = np.random.default_rng(0).uniform(-1, 1, (4, 7))
    goals = late("0", Deltas(chunk), representation=OSC_DELTA)(shown(height_m=0.3))[0]
    start = RigidState(transform_from([0.0, 0.0, 0.3], Rotation.from_quat(DOWN)), np.zeros(6))
    targets = targets_from_deltas(chunk, start, ActionSpec(), np.eye(4), 1).states
    for goal, action, state in zip(goals, chunk, targets, strict=False):
        turn = Rotation.from_rotvec(action[3:6] * 0.5).as_matrix()
        np.testing.assert_allclose(goal[:3], state.pose[:3, 3] + 0.05 * action[:3], atol=1e-9)
        np.testing.assert_allclose(rotations_from_6d(goal[3:9])[0], turn @ state.pose[:3, :3], atol=1e-6)
        assert goal[9] == action[6]


def test_a_chunk_starts_from_what_was_commanded_within_a_bounded_lead():
    down = np.zeros((4, 7))
    down[:, 2] = -1.0
    actor = late("0", Deltas(down), representation=OSC_DELTA)
    first, second = (actor(shown(height_m=0.3))[0] for _ in range(2))
    assert first[0, 2] == pytest.approx(0.25)
    assert second[0, 2] == pytest.approx(0.3 - 0.02 - 0.05), "the arm did not move: 2 cm of lead, no more"
