"""The same world with a Panda or an FR3 in it: as long, but other masses and other travel."""

import mujoco
import numpy as np
import pytest

from d2ppo_core.errors import ConfigError
from d2ppo_core.runtime.safety.kinematics import posture
from d2ppo_core.runtime.safety.robots import ROBOTS
from sim.fci.hand import F_T_EE
from sim.tasks import TASKS, task_named
from sim.world.arm_model import load_model
from sim.world.bare_arm import bare_arm_model
from sim.world.world import World

LINKS = [f"robot0_link{i}" for i in range(1, 8)]
FR3_KG = [2.92747, 2.93554, 2.24490, 2.61560, 2.32712, 1.81704, 0.62714]
"""As franka_description 1.0.1 has them."""


def travel(model):
    return np.array([model.joint(f"robot0_joint{i}").range for i in range(1, 8)])


@pytest.mark.parametrize("robot", ["panda", "fr3"])
@pytest.mark.parametrize("task", sorted(TASKS))
def test_every_world_holds_either_robot_with_its_own_travel(task, robot):
    model = load_model(task_named(task).model_path, robot)
    low, high = ROBOTS[robot].q_min_rad, ROBOTS[robot].q_max_rad
    assert np.allclose(travel(model), np.stack((low, high), axis=1), atol=1e-6)
    if task == "transport":
        assert np.array_equal(model.joint("robot1_joint6").range, model.joint("robot0_joint6").range)


def test_an_fr3_has_its_own_masses_and_the_pandas_lengths_hand_and_looks():
    panda, fr3 = World(task_named("lift")), World(task_named("lift"), robot="fr3")
    masses = [float(fr3.model.body(link).mass[0]) for link in LINKS]
    assert np.allclose(masses, FR3_KG, atol=1e-5)
    assert not np.allclose([float(panda.model.body(link).mass[0]) for link in LINKS], FR3_KG, atol=0.05)
    for part in ("body_pos", "body_quat", "geom_pos", "mesh_vert", "cam_pos", "dof_frictionloss"):
        assert np.array_equal(getattr(panda.model, part), getattr(fr3.model, part)), part
    hand = [float(world.model.body("robot0_right_hand").mass[0]) for world in (panda, fr3)]
    assert hand[0] == hand[1]


def test_inertia_is_what_the_description_says_in_the_axes_of_the_link():
    model = bare_arm_model(robot="fr3")
    axes = np.empty(9)
    mujoco.mju_quat2Mat(axes, model.body("robot0_link6").iquat)
    axes = axes.reshape(3, 3)
    tensor = axes @ np.diag(model.body("robot0_link6").inertia) @ axes.T
    assert np.allclose(np.diag(tensor), [0.0054123336, 0.0140583295, 0.0160808179], atol=1e-7)
    assert np.allclose(tensor[[0, 0, 1], [1, 2, 2]], [0.0061934564, 0.0014219289, -0.0013140754], atol=1e-7)


def test_the_arm_node_computes_the_tool_of_either_where_the_world_has_it():
    rng = np.random.default_rng(0)
    for robot in ROBOTS:
        world = World(task_named("lift"), robot=robot)
        for q in rng.uniform(ROBOTS[robot].q_min_rad, ROBOTS[robot].q_max_rad, (5, 7)):
            world.place_arm(q, 0.04)
            assert np.allclose(posture(q, F_T_EE).pose, world.ee_pose(), atol=1e-5)


def test_an_fr3_at_rest_is_held_by_its_own_gravity():
    world = World(task_named("lift"), robot="fr3")
    before = world.q_rad.copy()
    for _ in range(200):
        world.step(np.zeros(7))
    assert np.abs(world.q_rad - before).max() < 1e-4
    assert np.abs(world.gravity_nm - World(task_named("lift")).gravity_nm).max() > 0.5  # Nm


def test_a_robot_that_there_is_not_is_refused_by_name():
    with pytest.raises(ConfigError, match="wanted one of panda, fr3, got 'ur5'"):
        World(task_named("lift"), robot="ur5")
