"""The batched environment fulfils the contract, without robosuite and without wrong input slipping through."""

import subprocess
import sys

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from d2ppo_core.actions import goals_from_deltas
from d2ppo_core.envs import AutoresetMode
from d2ppo_core.envs.contract import HORIZON, EnvContract
from d2ppo_core.errors import ConfigError
from sim.batch.env import BatchedEnv
from sim.tasks import TASKS
from sim.tasks.arm_limits import STRETCHED_RAD


class Batched(EnvContract):
    task: str

    def make(self, *, autoreset_mode=AutoresetMode.SAME_STEP):
        return BatchedEnv(self.task, 3, num_threads=2, horizon_steps=HORIZON, autoreset_mode=autoreset_mode)


class TestLift(Batched):
    task = "lift"


class TestCan(Batched):
    task = "can"


class TestSquare(Batched):
    task = "square"


class TestTransport(Batched):
    task = "transport"


class TestGoalsInLift(EnvContract):
    def make(self, *, autoreset_mode=AutoresetMode.SAME_STEP):
        return BatchedEnv(
            "lift", 3, num_threads=2, horizon_steps=HORIZON, autoreset_mode=autoreset_mode,
            action_representation="ee_absolute",
        )  # fmt: skip


@pytest.mark.parametrize(("task", "yaws_rad"), [("lift", [0.0]), ("transport", [np.pi / 2, -np.pi / 2])])
def test_goals_move_the_worlds_as_the_deltas_do_of_which_they_are_made(task, yaws_rad):
    bases = Rotation.from_euler("z", np.array(yaws_rad)[:, None]).as_matrix()
    arms, rng = range(len(yaws_rad)), np.random.default_rng(0)
    deltas, goals = rng.uniform(-1.2, 1.2, (2, 12, 7 * len(arms))), []
    with BatchedEnv(task, 2, num_threads=1) as env:
        obs, _ = env.reset(seed=4)
        for action in np.moveaxis(deltas, 1, 0):
            quats = np.stack([obs[f"robot{arm}_eef_quat"] for arm in arms], axis=1)
            rotations = Rotation.from_quat(quats.reshape(-1, 4)).as_matrix().reshape(2, -1, 3, 3)
            positions = np.stack([obs[f"robot{arm}_eef_pos"] for arm in arms], axis=1)
            goals.append(goals_from_deltas(action, positions, rotations, bases))
            obs, *_ = env.step(action.clip(-1, 1))
        wanted = env.states()
    with BatchedEnv(task, 2, num_threads=1, action_representation="ee_absolute") as env:
        assert env.metadata["action_representation"] == "ee_absolute"
        env.reset(seed=4)
        for start in range(0, 12, 4):
            env.step_chunk(np.stack(goals[start : start + 4], axis=1))
        np.testing.assert_allclose(env.states(), wanted, atol=2e-4)


def test_a_goal_out_of_reach_pulls_as_a_delta_of_one_and_no_rotation_turns_nothing():
    ends = []
    for representation, action in (
        ("osc_delta", [1.0, -1.0, 1.0, 0, 0, 0, -1.0]),
        ("ee_absolute", [9.0, -9.0, 9.0, 0, 0, 0, 0, 0, 0, -1.0]),
    ):
        with BatchedEnv("lift", 1, num_threads=1, action_representation=representation) as env:
            env.reset(seed=1)
            env.step_chunk(np.tile(action, (1, 5, 1)))
            ends.append(env.states())
    np.testing.assert_allclose(*ends, atol=1e-9)


@pytest.mark.parametrize("arithmetic", ["fast", "exact"])
@pytest.mark.parametrize("task", TASKS)
def test_the_number_of_threads_changes_nothing(task, arithmetic):
    results = []
    for threads in (1, 3):
        with BatchedEnv(task, 5, num_threads=threads, horizon_steps=4, arithmetic=arithmetic) as env:
            env.reset(seed=0)
            for t in range(5):
                actions = np.random.default_rng(t).uniform(-1, 1, env.action_space.shape)
                obs, *_ = env.step(actions)
            results.append(obs)
    for key in results[0]:
        np.testing.assert_array_equal(results[0][key], results[1][key])


@pytest.mark.parametrize("keep", [False, True])
def test_an_arm_beyond_the_limits_of_real_ones_loses_the_episode_where_they_are_kept(keep):
    env = BatchedEnv("lift", 2, num_threads=1, keep_arm_limits=keep, autoreset_mode=AutoresetMode.DISABLED)
    with env:
        env.reset(seed=0)
        states = env.states()
        states[1, 1 + 3] = STRETCHED_RAD
        env.set_states(states)
        still = np.zeros((2, 1, 7))
        outcome = env.step_chunk(still)
        np.testing.assert_array_equal(outcome.terminated, [False, keep])
        assert not outcome.success.any() and not outcome.truncated.any()
        np.testing.assert_array_equal(env.step_chunk(still).steps, [1, not keep])


def test_an_unknown_task_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match="unknown task 'juggling'; known are lift"):
        BatchedEnv("juggling", 1)


def test_neither_robosuite_nor_torch_is_imported():
    script = (
        "import sys; sys.modules['robosuite'] = None; from sim.batch.env import BatchedEnv;"
        "env = BatchedEnv('lift', 2);"
        "env.reset(seed=0); env.step(env.action_space.sample(__import__('numpy').random.default_rng(0)));"
        "assert 'torch' not in sys.modules"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
