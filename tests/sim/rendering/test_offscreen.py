"""One renderer for training and deployment: robosuite's world and the committed one look alike through it."""

import os
import subprocess
import sys

import numpy as np
import pytest

from d2ppo_core.errors import WorldError
from sim.rendering.offscreen import OffscreenRenderer
from sim.tasks import task_named
from sim.world.world import World

MAX_MEAN_DIFFERENCE = 1.0
"""Grey levels of 255: finer than the texture of the table."""


@pytest.fixture(scope="module")
def robosuite_env():
    robosuite = pytest.importorskip("robosuite")
    env = robosuite.make("Lift", robots="Panda", has_offscreen_renderer=False, use_camera_obs=False, seed=0)
    env.reset()
    yield env
    env.close()


@pytest.fixture(scope="module")
def world():
    return World(task_named("lift"))


@pytest.mark.parametrize(("camera", "size"), [("robot0_eye_in_hand", (96, 96)), ("agentview", (320, 240))])
def test_committed_world_looks_like_robosuites(robosuite_env, world, camera, size):
    theirs, rng = robosuite_env.sim, np.random.default_rng(0)
    cube = theirs.model._model.geom("cube_g0_vis")
    cube.size[:] = world.model.geom("cube_g0_vis").size
    with (
        OffscreenRenderer(theirs.model._model, *size) as their_renderer,
        OffscreenRenderer(world.model, *size) as our_renderer,
    ):
        for _ in range(3):
            qpos = world.data.qpos.copy()
            qpos[:7] = np.array(world.task.home_q_rad) + rng.uniform(-0.25, 0.25, 7)
            theirs.data._data.qpos[:] = qpos
            theirs.forward()
            world.set_positions(qpos)
            expected = their_renderer.render(theirs.data._data, camera)
            image = our_renderer.render(world.data, camera)
            assert image.std() > 5.0
            assert np.abs(image.astype(int) - expected).mean() < MAX_MEAN_DIFFERENCE


def test_row_zero_is_the_top(world):
    with OffscreenRenderer(world.model, 96, 96) as renderer:
        image = renderer.render(world.data, "robot0_eye_in_hand")
    hand, table = image[-8:].mean(), image[:8].mean()
    assert hand < 128 < table  # the dark hand is at the bottom, the white table fills the rest


def test_two_renderers_take_turns_in_one_process(world):
    with OffscreenRenderer(world.model, 96, 96) as one, OffscreenRenderer(world.model, 64, 48) as other:
        first = one.render(world.data, "robot0_eye_in_hand")
        assert other.render(world.data, "agentview").shape == (48, 64, 3)
        assert np.array_equal(one.render(world.data, "robot0_eye_in_hand"), first)


def test_unknown_camera_is_refused_with_the_known_ones(world):
    with OffscreenRenderer(world.model, 32, 32) as renderer, pytest.raises(WorldError, match="agentview"):
        renderer.render(world.data, "ceiling")


def test_missing_egl_names_the_debian_packages():
    program = (
        "from d2ppo_core.errors import WorldError\n"
        "from sim.rendering.offscreen import OffscreenRenderer\n"
        "from sim.tasks import task_named\nfrom sim.world.world import World\n"
        "try: OffscreenRenderer(World(task_named('lift')).model, 32, 32)\nexcept WorldError as e: print(e)"
    )
    environment = os.environ | {"MUJOCO_EGL_DEVICE_ID": "99"}
    run = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60)
    assert "sudo apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri" in run.stdout
    assert len(run.stdout.splitlines()) == 1
