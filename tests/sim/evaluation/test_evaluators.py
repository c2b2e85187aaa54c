"""The same episodes in batched worlds and in robosuite itself."""

import os
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("robosuite", reason="robosuite is not installed (pip install --no-deps robosuite==1.5.2)")

from d2ppo_core.errors import ConfigError, WorldError
from d2ppo_core.evaluation.policies import PolicyFolder, open_policies
from d2ppo_core.evaluation.samplers import Variant
from sim.evaluation.evaluators import BatchedEvaluator, RobosuiteEvaluator, check_policies

ONLY = Variant(weights="none", sampling="deterministic", num_denoising_steps=1)
SEEDS = (0, 1, 3, 4)


class Shaky:
    """Grasps the cube with a trembling hand."""

    noise_shape = (1, 4, 7)

    def __call__(self, obs, noise):
        to_cube_m = obs["object"][:, :3] - obs["robot0_eef_pos"]
        distance_m = np.linalg.norm(to_cube_m, axis=1)
        above = np.linalg.norm(to_cube_m[:, :2], axis=1) < 0.015
        goal_m = to_cube_m + np.where(above[:, None], 0.0, [0.0, 0.0, 0.08])
        chunks = np.zeros((len(goal_m), 4, 7), np.float32)
        chunks[..., :3] = 6 * goal_m[:, None] + 0.6 * noise[:, 0, :, :3]
        chunks[..., 6] = -1
        chunks[distance_m < 0.018] = [0, 0, 0, 0, 0, 0, 1]
        chunks[(distance_m < 0.03) & (obs["robot0_gripper_qpos"][:, 0] < 0.0295)] = [0, 0, 0.5, 0, 0, 0, 1]
        return chunks.clip(-1, 1)


class Scripted(PolicyFolder):
    folder, task, action_horizon = Path("scripted"), "lift", 4
    low_dim_keys, image_keys, image_hw = ("robot0_eef_pos", "robot0_gripper_qpos", "object"), (), (0, 0)

    def variants(self, weights=(), samplings=(), steps=()):
        return (ONLY,)

    def ladder(self, weights=()):
        return (ONLY,)

    def sampler(self, variant):
        return Shaky()

    def record(self):
        return {}


def run(evaluator, variant, seeds):
    counts = []
    try:
        episodes = evaluator.run(variant, seeds, counts.append)
    finally:
        evaluator.close()
    assert counts == sorted(counts) and counts[-1] == len(seeds)
    assert episodes.seeds == tuple(seeds)
    return episodes.success.tolist(), episodes.steps.tolist()


@pytest.fixture(scope="module")
def in_robosuite():
    return run(RobosuiteEvaluator(Scripted(), processes=1, horizon_steps=64), ONLY, SEEDS)


@pytest.mark.parametrize("num_envs", [4, 2])
def test_batched_worlds_and_robosuite_agree_on_every_episode(in_robosuite, num_envs):
    success, steps = run(BatchedEvaluator(Scripted(), num_envs=num_envs, horizon_steps=64), ONLY, SEEDS)
    assert (success, steps) == in_robosuite
    assert True in success and False in success, "a policy that always or never succeeds shows nothing"
    assert len(set(steps)) >= 3


def test_late_chunks_are_the_same_episodes_in_both_kinds_of_worlds_and_cost_time():
    at_once, late = (
        run(BatchedEvaluator(Scripted(), num_envs=2, horizon_steps=64, delay=delay), ONLY, SEEDS)
        for delay in ("0", "50")
    )
    assert late == run(RobosuiteEvaluator(Scripted(), processes=1, horizon_steps=64, delay="50"), ONLY, SEEDS)
    assert True in at_once[0] and sum(at_once[1]) < sum(late[1])


@pytest.mark.parametrize(
    ("delay", "line"),
    [("-1", "wanted 0 … 5000 ms, got -1"), ("nan", "wanted 0"), ("soon", "soon is no evaluation.json of evaluate")],
)
def test_a_delay_that_is_none_is_refused_before_anything_is_built(delay, line):
    for evaluator in (BatchedEvaluator, RobosuiteEvaluator):
        with pytest.raises(ConfigError, match=line):
            evaluator(Scripted(), delay=delay)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_episode_does_not_depend_on_the_number_of_processes_nor_on_the_kind_of_worlds():
    policies = open_policies("lift_image")
    variant, seeds = policies.variants()[0], (7, 8)
    one = run(RobosuiteEvaluator(policies, processes=1, horizon_steps=120), variant, seeds)
    two = run(RobosuiteEvaluator(policies, processes=2, horizon_steps=120), variant, seeds)
    batched = run(BatchedEvaluator(policies, num_envs=2, horizon_steps=120), variant, seeds)
    assert one == two
    assert one[0] == batched[0] == [True, True]


def test_a_policy_that_does_not_fit_is_refused_before_anything_is_built():
    with pytest.raises(ConfigError, match="unknown task 'juggling'"):
        check_policies(Scripted(), "juggling")
    with pytest.raises(ConfigError, match="wanted a policy for can, got scripted for lift"):
        check_policies(Scripted(), "can")
    seeing = Scripted()
    seeing.image_keys = ("frontview_image",)
    with pytest.raises(ConfigError, match="reads frontview_image; the worlds show robot0_eef_pos"):
        check_policies(seeing, "lift")


def test_no_processes_are_refused():
    with pytest.raises(ConfigError, match="processes must be positive, got 0"):
        RobosuiteEvaluator(Scripted(), processes=0)


class Deadly:
    """Ends the process that unpickles it."""

    def __reduce__(self):
        return os._exit, (1,)


def test_a_process_that_dies_ends_the_evaluation_with_one_line():
    policies = Scripted()
    policies.folder = Deadly()
    with pytest.raises(WorldError, match=r"a robosuite process died \(out of memory\?\)"):
        run(RobosuiteEvaluator(policies, processes=2), ONLY, SEEDS)


def test_what_a_process_refuses_is_raised_here(tmp_path):
    policies = Scripted()
    policies.folder = tmp_path
    with pytest.raises(ConfigError, match="wanted a run folder"):
        run(RobosuiteEvaluator(policies, processes=2), ONLY, SEEDS)
