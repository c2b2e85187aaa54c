"""Success predicates at their edges, and starts that cannot be drawn."""

import numpy as np
import pytest

from d2ppo_core.errors import ConfigError, WorldError
from sim.tasks import TASKS, task_named
from sim.tasks.can import in_goal
from sim.tasks.lift import LIFT
from sim.tasks.placement import Item, Region, place
from sim.tasks.square import SQUARE, on_peg
from sim.tasks.transport import TRANSPORT


def test_lift_is_solved_four_centimetres_above_the_table():
    heights = np.array([[0.0, 0.0, 0.8399], [0.0, 0.0, 0.8401]])
    np.testing.assert_array_equal(LIFT.success({"cube_pos": heights}), [False, True])


def test_the_can_belongs_into_one_quarter_of_the_right_bin():
    inside = np.array([0.2, 0.4, 0.85])
    outside = inside + np.array([[-0.11, 0, 0], [0, -0.13, 0], [0, 0, 0.06], [0.1, 0, 0], [0, 0.13, 0], [0, 0, -0.06]])
    assert in_goal(inside)
    assert not in_goal(outside).any()


def test_the_nut_counts_once_the_hand_is_off_it():
    nut = np.array([[0.23, 0.1, 0.84]] * 2)
    hand = nut + np.array([[0, 0, 0.03], [0, 0, 0.06]])
    np.testing.assert_array_equal(SQUARE.success({"object_pos": nut, "robot0_eef_pos": hand}), [False, True])
    assert not on_peg(np.array([[0.23, 0.1, 0.88], [0.265, 0.1, 0.84]])).any()


def test_transport_needs_both_contacts():
    flags = np.array([[[0.0], [1.0]], [[1.0], [1.0]]])
    taps = {"payload_in_target_bin": flags[:, 0], "trash_in_trash_bin": flags[:, 1]}
    np.testing.assert_array_equal(TRANSPORT.success(taps), [False, True])


@pytest.mark.parametrize("task", TASKS)
def test_a_start_depends_on_its_generator_only(task):
    one, other, third = (TASKS[task].draw(np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.arm_q_rad, other.arm_q_rad)
    assert not np.array_equal(one.arm_q_rad, third.arm_q_rad)
    for joint, pose in one.objects.items():
        np.testing.assert_array_equal(pose, other.objects[joint])
        assert abs(np.linalg.norm(pose[3:]) - 1.0) < 1e-6


def test_objects_are_not_put_into_each_other_and_a_full_table_is_reported():
    item = Item(joint="a", radius_m=0.1, top_m=0.05, bottom_m=-0.05)
    region = Region(x_m=(-0.1, 0.1), y_m=(-0.1, 0.1))
    placed = {}
    _, first = place(np.random.default_rng(0), item, region, placed)
    with pytest.raises(WorldError, match="no room for b"):
        for name in ("b", "b"):
            place(np.random.default_rng(1), Item(joint=name, radius_m=0.3, top_m=0.05, bottom_m=-0.05), region, placed)
    assert list(placed) == ["a"] and abs(first[2] - 0.05) < 1e-12


def test_an_unknown_task_is_refused():
    with pytest.raises(ConfigError, match="unknown task 'juggling'; known are lift, can, square, transport"):
        task_named("juggling")
