"""Lift starts and ends as robosuite's does."""

import mujoco
import numpy as np
import pytest

from d2ppo_core.errors import WorldError
from sim.tasks import task_named
from sim.tasks.lift import LIFT_TASK
from sim.world.world import World


def test_starts_fill_the_square_at_every_yaw():
    poses = np.array([LIFT_TASK.sample_start(np.random.default_rng(seed))["cube_joint0"] for seed in range(2000)])
    x, y, z = poses[:, :3].T
    yaw = 2 * np.arctan2(poses[:, 6], poses[:, 3]) % (2 * np.pi)
    for values, low, high in ((x, -0.03, 0.03), (y, -0.03, 0.03), (yaw, 0.0, 2 * np.pi)):
        assert values.min() >= low and values.max() <= high
        counts, _ = np.histogram(values, bins=10, range=(low, high))
        assert counts.min() > 140  # 200 expected: uniform
    assert np.allclose(z, 0.821)
    assert np.allclose(np.linalg.norm(poses[:, 3:], axis=1), 1.0)


def test_same_seed_same_start():
    first, second = (LIFT_TASK.sample_start(np.random.default_rng(9))["cube_joint0"] for _ in range(2))
    assert np.array_equal(first, second)


def test_cube_lies_still_at_every_start():
    world = World(LIFT_TASK)
    for seed in range(5):
        world.reset_objects(seed)
        before = world.data.joint("cube_joint0").qpos.copy()
        for _ in range(300):
            world.step(np.zeros(7))
        assert np.allclose(world.data.joint("cube_joint0").qpos, before, atol=5e-4)


def test_success_is_robosuites_on_the_same_states():
    robosuite = pytest.importorskip("robosuite")
    env = robosuite.make("Lift", robots="Panda", has_offscreen_renderer=False, use_camera_obs=False, seed=1)
    env.reset()
    world, rng, outcomes = World(LIFT_TASK), np.random.default_rng(2), set()
    for height in (*rng.uniform(0.80, 0.90, 40), 0.8399, 0.8401):
        qpos = env.sim.data._data.qpos.copy()
        qpos[11] = height
        env.sim.data._data.qpos[:] = qpos
        env.sim.forward()
        world.set_positions(qpos)
        assert world.is_success() == env._check_success()
        outcomes.add(world.is_success())
    env.close()
    assert outcomes == {True, False}


def test_world_has_the_joints_of_robosuite_in_the_same_places():
    model = mujoco.MjModel.from_xml_path(str(LIFT_TASK.model_path))
    names = [model.joint(i).name for i in range(model.njnt)]
    assert names[:7] == [f"robot0_joint{i}" for i in range(1, 8)]
    assert names[7:] == ["gripper0_right_finger_joint1", "gripper0_right_finger_joint2", "cube_joint0"]


def test_unknown_task_lists_the_known():
    with pytest.raises(WorldError, match="no task 'stack'; known: can, lift, square, transport"):
        task_named("stack")
