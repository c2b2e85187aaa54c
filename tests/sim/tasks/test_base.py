"""Live worlds start and end by the definitions that training has."""

import numpy as np
import pytest

from d2ppo_core.bundle import load_bundle
from d2ppo_core.runtime.inference.setting import Setting
from d2ppo_core.runtime.safety.cell import load_cell
from sim.tasks import TASKS
from sim.tasks.can import GOAL_BIN_M
from sim.tasks.square import PEG_M
from sim.tasks.transport import TABLE_HEIGHT_M, TABLES_Y_M
from sim.world.world import World

UPRIGHT = (1.0, 0.0, 0.0, 0.0)


def put(world: World, joint: str, position_m: tuple[float, float, float]) -> None:
    """Put an object somewhere, turned as it is."""
    qpos = world.data.qpos.copy()
    at = int(world.model.joint(joint).qposadr[0])
    qpos[at : at + 3] = position_m
    world.set_positions(qpos)


def rest(world: World, milliseconds: int) -> None:
    for _ in range(milliseconds):
        world.step(np.zeros(7 * len(world.arms)))


@pytest.mark.parametrize("name", TASKS)
def test_objects_start_where_training_draws_them(name: str):
    world = World(TASKS[name], seed=11)
    start = TASKS[name].draw(np.random.default_rng(11))
    assert start.objects
    for joint, pose in start.objects.items():
        assert np.allclose(world.data.joint(joint).qpos, pose, atol=1e-6), joint
    assert not world.is_success()


def test_can_in_its_quarter_counts_once_the_hand_is_away():
    world = World(TASKS["can"])
    goal = (GOAL_BIN_M[0] + 0.1, GOAL_BIN_M[1] + 0.1, GOAL_BIN_M[2] + 0.06)
    put(world, "Can_joint0", goal)
    assert world.is_success()
    hand = world.data.site("gripper0_right_grip_site").xpos
    put(world, "Can_joint0", tuple(hand))
    assert not world.is_success()


def test_nut_over_the_peg_counts():
    world = World(TASKS["square"])
    put(world, "SquareNut_joint0", (*PEG_M, 0.83))
    assert world.is_success()
    put(world, "SquareNut_joint0", (PEG_M[0] + 0.04, PEG_M[1], 0.83))
    assert not world.is_success()


def test_transport_counts_hammer_and_trash_in_their_bins_and_nothing_less():
    world = World(TASKS["transport"])
    rest(world, 50)
    trash_bin, target_bin = (world.data.body(f"transport_{name}_bin_root").xpos for name in ("trash", "target"))
    put(world, "trash_joint0", (trash_bin[0], trash_bin[1], TABLE_HEIGHT_M + 0.06))
    rest(world, 200)
    assert not world.is_success(), "the hammer is still in the start bin"
    put(world, "payload_joint0", (target_bin[0] - 0.03, TABLES_Y_M[1], TABLE_HEIGHT_M + 0.06))
    rest(world, 400)
    assert world.is_success()


@pytest.mark.parametrize("robot", ["panda", "fr3"])
@pytest.mark.parametrize("name", TASKS)
def test_every_arm_of_a_task_has_a_cell_where_it_stands_in_the_world(name: str, robot: str):
    task = TASKS[name]
    world = World(task, robot=robot)
    for arm in range(task.num_arms):
        cell = load_cell(task.cell(robot, arm))
        stands = cell.T_world_base
        body = world.data.body(f"robot{arm}_link0")
        assert cell.robot == robot and stands is not None
        np.testing.assert_allclose(stands[:3, 3], body.xpos, atol=1e-9)
        np.testing.assert_allclose(stands[:3, :3], body.xmat.reshape(3, 3), atol=1e-6)
        home_m = world.arms[arm].ee_pose()[:3, 3]
        assert (np.array(cell.workspace_min_m) < home_m).all() and (home_m < np.array(cell.workspace_max_m)).all()


@pytest.mark.parametrize("name", TASKS)
def test_a_task_and_its_policy_are_of_the_same_world(name: str):
    task = TASKS[name]
    assert task.num_arms == len(task.arms) and set(task.robosuite.cameras) <= set(task.cameras.values())
    if not task.bundle:
        return
    manifest, cell = load_bundle(task.bundle).manifest, load_cell(task.cell())
    names = {camera: graph for graph, camera in task.cameras.items()}
    stands = Setting(
        task=name, num_arms=task.num_arms, cameras=tuple(task.cameras), cell=task.cell(), T_world_base=cell.T_world_base
    )
    assert not stands.misfits(manifest, names)
