"""Shipped state policies solve their tasks in worlds whose arms have the limits of real ones."""

import pytest

from d2ppo_core.envs import AutoresetMode
from d2ppo_core.envs.episodes import run_episodes
from d2ppo_core.evaluation.noise import SeededActor
from d2ppo_core.evaluation.policies import open_policies
from sim.batch.env import BatchedEnv

EPISODES = 8


@pytest.mark.parametrize("task", ["lift", "can", "square"])
def test_a_shipped_policy_needs_no_posture_that_a_real_arm_does_not_have(task):
    policies = open_policies(f"{task}_state")
    limits = {"terminate_on_success": True, "keep_arm_limits": True, "autoreset_mode": AutoresetMode.DISABLED}
    with BatchedEnv(task, EPISODES, num_threads=1, **limits) as env:
        actor = SeededActor(policies.sampler(policies.variants((), (), ())[0]), EPISODES)
        seeds = range(1000, 1000 + EPISODES)
        found = run_episodes(env, actor, action_horizon=policies.action_horizon, seeds=seeds, begin=actor.begin)
    assert sum(found.success) >= EPISODES - 2
