"""The batched environment fulfils the contract, without robosuite and without wrong input slipping through."""

import subprocess
import sys

import numpy as np
import pytest

from d2ppo_core.envs import AutoresetMode
from d2ppo_core.envs.contract import HORIZON, EnvContract
from d2ppo_core.errors import ConfigError
from sim.batch.env import BatchedEnv
from sim.tasks.training import TRAINING_TASKS


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


@pytest.mark.parametrize("arithmetic", ["fast", "exact"])
@pytest.mark.parametrize("task", TRAINING_TASKS)
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
