"""robosuite fulfils the contract too, and a task of one's own fits in."""

import pytest

pytest.importorskip("robosuite", reason="robosuite is not installed (pip install --no-deps robosuite==1.5.2)")

import numpy as np
from robosuite.environments.manipulation.lift import Lift

from d2ppo_core.envs import AutoresetMode, ChunkEnv
from d2ppo_core.envs.contract import HORIZON, EnvContract
from d2ppo_core.errors import ConfigError
from sim.robosuite.env import RobosuiteEnv
from sim.robosuite.vec import RobosuiteVecEnv
from sim.tasks.robosuite_task import RobosuiteTask


class TestRobosuiteLift(EnvContract):
    def make(self, *, autoreset_mode=AutoresetMode.SAME_STEP):
        return RobosuiteVecEnv.of_task("lift", 2, horizon_steps=HORIZON, autoreset_mode=autoreset_mode)


class LiftALittle(Lift):
    """A user's own task: registered with robosuite by its mere definition. Solved from the start."""

    def _check_success(self):
        return True


def test_a_task_of_ones_own_fits_in():
    task = RobosuiteTask(env_name="LiftALittle", cameras=("agentview",), horizon_steps=8)
    env = ChunkEnv(RobosuiteVecEnv([RobosuiteEnv(task) for _ in range(2)]), pred_horizon=4, action_horizon=4)
    env.reset(seed=0)
    for _ in range(2):
        step = env.step(np.zeros((2, 4, 7)))
    np.testing.assert_array_equal(step.reward, 4.0)
    assert step.truncated.all() and env.success_rate == 1.0
    env.close()


def test_refreshing_does_not_disturb_the_motion():
    with RobosuiteEnv("lift") as env:
        ends = []
        for refresh in (False, True):
            env.reset(0)
            for t in range(10):
                env.step(np.random.default_rng(t).uniform(-1, 1, 7))
                if refresh:
                    env.refresh()
            ends.append(env.state())
        np.testing.assert_array_equal(ends[0], ends[1])


def test_worlds_of_several_tasks_are_refused():
    with RobosuiteEnv("lift") as one, RobosuiteEnv("square") as other:
        with pytest.raises(ConfigError, match="one task, got .*Lift.*NutAssemblySquare"):
            RobosuiteVecEnv([one, other])
