"""Pictures of batched worlds: the contract holds, they show what robosuite's world shows, and only when needed."""

import numpy as np
import pytest

from d2ppo_core.envs import AutoresetMode
from d2ppo_core.envs.contract import HORIZON, EnvContract
from sim.batch.env import BatchedEnv
from sim.tasks import TASKS


class TestLiftWithPictures(EnvContract):
    def make(self, *, autoreset_mode=AutoresetMode.SAME_STEP):
        return BatchedEnv(
            "lift", 2, horizon_steps=HORIZON, autoreset_mode=autoreset_mode, images=True, image_size_px=32
        )


@pytest.mark.parametrize("task", TASKS)
def test_pictures_show_what_robosuites_world_shows(task):
    robosuite_vec = pytest.importorskip("sim.robosuite.vec")
    pytest.importorskip("robosuite")
    with (
        BatchedEnv(task, 2, images=True) as ours,
        robosuite_vec.RobosuiteVecEnv.of_task(task, 2, images=True) as theirs,
    ):
        left, right = ours.reset(seed=3)[0], theirs.reset(seed=3)[0]
        for camera in TASKS[task].robosuite.cameras:
            one, other = (obs[f"{camera}_image"].astype(float) for obs in (left, right))
            assert one.std() > 20
            assert np.abs(one - other).mean() < 3.0
            assert (np.abs(one - other).max(axis=-1) > 40).mean() < 0.03


def test_a_chunk_costs_one_picture_per_world(monkeypatch):
    with BatchedEnv("lift", 2, images=True, image_size_px=16) as env:
        env.reset(seed=0)
        drawn = []
        render = env._pictures._renderer.render
        monkeypatch.setattr(env._pictures._renderer, "render", lambda *a: drawn.append(a[1]) or render(*a))
        env.step_chunk(np.zeros((2, 4, 7)))
    assert drawn == ["robot0_eye_in_hand"] * 2
