"""Lift starts and ends as robosuite's does."""

import mujoco
import numpy as np
import pytest

from sim.tasks.lift import LIFT
from sim.world.world import World


def test_starts_fill_the_square_at_every_yaw():
    poses = np.array([LIFT.sample_start(np.random.default_rng(seed))["cube_joint0"] for seed in range(2000)])
    x, y, z = poses[:, :3].T
    yaw = 2 * np.arctan2(poses[:, 6], poses[:, 3]) % (2 * np.pi)
    for values, low, high in ((x, -0.03, 0.03), (y, -0.03, 0.03), (yaw, 0.0, 2 * np.pi)):
        assert values.min() >= low and values.max() <= high
        counts, _ = np.histogram(values, bins=10, range=(low, high))
        assert counts.min() > 140  # 200 expected: uniform
    assert z.min() >= 0.83 and z.max() <= 0.832, "it falls from a centimetre above the table"
    assert np.allclose(np.linalg.norm(poses[:, 3:], axis=1), 1.0)


def test_same_seed_same_start():
    first, second = (LIFT.sample_start(np.random.default_rng(9))["cube_joint0"] for _ in range(2))
    assert np.array_equal(first, second)


def test_cube_lies_still_soon_after_every_start():
    world = World(LIFT)
    for seed in range(5):
        world.reset_objects(seed)
        start = world.data.joint("cube_joint0").qpos.copy()
        for _ in range(300):
            world.step(np.zeros(7))
        lying = world.data.joint("cube_joint0").qpos.copy()
        assert np.allclose(lying[:2], start[:2], atol=1e-3) and abs(lying[2] - 0.821) < 5e-4
        for _ in range(150):
            world.step(np.zeros(7))
        assert np.allclose(world.data.joint("cube_joint0").qpos, lying, atol=5e-4)


def test_success_is_robosuites_on_the_same_states():
    robosuite = pytest.importorskip("robosuite")
    env = robosuite.make("Lift", robots="Panda", has_offscreen_renderer=False, use_camera_obs=False, seed=1)
    env.reset()
    world, rng, outcomes = World(LIFT), np.random.default_rng(2), set()
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
    model = mujoco.MjModel.from_xml_path(str(LIFT.model_path))
    names = [model.joint(i).name for i in range(model.njnt)]
    assert names[:7] == [f"robot0_joint{i}" for i in range(1, 8)]
    assert names[7:] == ["gripper0_right_finger_joint1", "gripper0_right_finger_joint2", "cube_joint0"]
