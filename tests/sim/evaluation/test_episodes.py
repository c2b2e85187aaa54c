"""One policy in the real robosuite."""

import numpy as np
import pytest

pytest.importorskip("robosuite", reason="robosuite is not installed (pip install --no-deps robosuite==1.5.2)")

from d2ppo_core.actions import rotations_6d
from d2ppo_core.errors import ConfigError
from d2ppo_core.evaluation.noise import chunk_noise
from sim.batch.env import BatchedEnv
from sim.evaluation.episodes import run_episode, seeded_policy
from sim.robosuite.env import RobosuiteEnv
from sim.robosuite.vec import RobosuiteVecEnv


@pytest.fixture(scope="module")
def env():
    with RobosuiteEnv("lift", image_size_px=16) as env:
        yield env


def grasping(observation):
    """A hand-written state policy: one action as a chunk."""
    to_cube_m = observation["object"][:3] - observation["robot0_eef_pos"]
    distance_m = np.linalg.norm(to_cube_m)
    if distance_m < 0.025 and observation["robot0_gripper_qpos"][0] < 0.0295:
        return np.array([[0, 0, 0.5, 0, 0, 0, 1.0]])
    if distance_m < 0.012:
        return np.array([[0, 0, 0, 0, 0, 0, 1.0]])
    hover_m = 0.0 if np.linalg.norm(to_cube_m[:2]) < 0.01 else 0.08
    return np.array([[*(18 * (to_cube_m + [0, 0, hover_m])), 0, 0, 0, -1.0]])


def idle(observation):
    return np.tile([0, 0, 0, 0, 0, 0, -1.0], (4, 1))


def test_a_policy_that_grasps_succeeds_and_the_episode_repeats(env):
    runs = [run_episode(env, grasping, seed, 1, 150, images=False) for seed in (0, 1, 0)]
    assert all(run.success and run.steps < 150 for run in runs)
    assert runs[0] == runs[2] != runs[1]


def test_a_policy_that_does_nothing_fails_after_the_full_time(env):
    result = run_episode(env, idle, 0, 4, 10, images=False)
    assert (result.seed, result.success, result.steps) == (0, False, 10)


def test_a_chunk_is_executed_open_loop_before_the_policy_is_asked_again(env):
    calls = []
    run_episode(env, lambda o: calls.append(o) or idle(o), 0, 4, 10, images=True)
    assert len(calls) == 3
    assert calls[0]["robot0_eye_in_hand_image"].shape == (16, 16, 3)


def chunks_of(representation):
    """Three chunks of four random actions: deltas, or goals around the start."""
    rng = np.random.default_rng(0)
    if representation == "osc_delta":
        return rng.uniform(-1, 1, (3, 4, 7))
    goals = np.zeros((3, 4, 10))
    goals[..., :3] = [-0.1, 0.0, 1.01] + rng.uniform(-0.1, 0.1, (3, 4, 3))
    goals[..., 3:9] = rotations_6d(np.diag([1.0, -1.0, -1.0])) + rng.uniform(-0.2, 0.2, (3, 4, 6))
    goals[..., 9] = rng.uniform(-1, 1, (3, 4))
    return goals


@pytest.mark.parametrize("representation", ["osc_delta", "ee_absolute"])
@pytest.mark.parametrize("make", [RobosuiteVecEnv.of_task, BatchedEnv])
def test_a_policy_is_shown_what_the_training_worlds_show_it(env, make, representation):
    chunks, seen = chunks_of(representation), []

    def policy(observation):
        seen.append(observation)
        return chunks[len(seen) - 1]

    run_episode(env, policy, 3, 4, 12, images=False, representation=representation)
    with make("lift", 1, action_representation=representation) as others:
        shown = [others.reset(seed=3)[0]] + [others.step_chunk(chunk[None]).obs for chunk in chunks[:2]]
    for ours, theirs in zip(seen, shown, strict=True):
        for key, value in theirs.items():
            np.testing.assert_allclose(ours[key], value[0], atol=1e-6)


def test_a_chunk_that_is_too_short_is_refused(env):
    with pytest.raises(ConfigError, match="at least 4 actions, got shape"):
        run_episode(env, lambda o: idle(o)[:2], 0, 4, 10, images=False)


def test_the_noise_of_an_episode_comes_from_its_seed():
    class Echo:
        noise_shape = (1, 4, 7)

        def __call__(self, obs, noise):
            assert obs["object"].shape == (1, 10)
            return noise[:, 0]

    policy = seeded_policy(Echo(), 5)
    for chunk in range(3):
        np.testing.assert_array_equal(policy({"object": np.zeros(10)}), chunk_noise(5, chunk, (1, 4, 7))[0])
