"""The world's arm is Franka's: kinematics, masses, torques; and time goes by the millisecond."""

import math

import mujoco
import numpy as np
import pytest

from d2ppo_core.errors import WorldError
from sim.assets.franka import panda_inertials
from sim.fci.hand import F_T_EE, FLANGE_M
from sim.tasks import task_named
from sim.world.world import World

DH_A_D_ALPHA = [
    (0, 0.333, 0), (0, 0, -math.pi / 2), (0, 0.316, math.pi / 2), (0.0825, 0, math.pi / 2),
    (-0.0825, 0.384, -math.pi / 2), (0, 0, math.pi / 2), (0.088, 0, math.pi / 2),
]  # fmt: skip
"""Franka's published modified Denavit-Hartenberg parameters."""


@pytest.fixture
def world():
    return World(task_named("lift"))


def frames(q_rad):
    """(8, 4, 4) base to link i by the published parameters; link 0 is the base."""
    chain = [np.eye(4)]
    for (a, d, alpha), q in zip(DH_A_D_ALPHA, q_rad, strict=True):
        c, s, ca, sa = math.cos(q), math.sin(q), math.cos(alpha), math.sin(alpha)
        link = [[c, -s, 0, a], [s * ca, c * ca, -sa, -d * sa], [s * sa, c * sa, ca, d * ca], [0, 0, 0, 1]]
        chain.append(chain[-1] @ np.array(link))
    return np.array(chain)


def random_q(rng):
    low, high = np.array([-2.7, -1.6, -2.7, -2.9, -2.7, 0.2, -2.7]), np.array([2.7, 1.6, 2.7, -0.3, 2.7, 3.5, 2.7])
    return rng.uniform(low, high)


def test_end_effector_is_where_frankas_parameters_put_it(world):
    rng, flange = np.random.default_rng(0), np.eye(4)
    flange[2, 3] = FLANGE_M
    for _ in range(20):
        q = random_q(rng)
        world.place_arm(q, 0.04)
        assert np.allclose(world.ee_pose(), frames(q)[7] @ flange @ F_T_EE, atol=1e-6)


def test_gravity_torques_are_those_of_the_identified_masses(world):
    inertials, rng = panda_inertials(), np.random.default_rng(1)
    parts = [(i, inertials[f"link{i}"]) for i in range(1, 8)]
    for _ in range(10):
        q = random_q(rng)
        world.place_arm(q, 0.0)
        chain = frames(q)
        hand = chain[7] @ np.block([[F_T_EE[:3, :3], np.array([[0, 0, FLANGE_M]]).T], [np.zeros((1, 3)), 1.0]])
        loads = [(chain[i] @ [*part.com_m, 1.0], part.mass_kg, i) for i, part in parts]
        loads.append((hand @ [*inertials["hand"].com_m, 1.0], inertials["hand"].mass_kg, 7))
        for side in ("left", "right"):
            body = world.data.body(f"gripper0_right_{side}finger")
            base = world.data.body("robot0_base").xpos
            loads.append((np.append(body.xipos - base, 1.0), inertials[f"{side}finger"].mass_kg, 7))
        expected = np.zeros(7)
        for com, mass, link in loads:
            for joint in range(link):
                axis, origin = chain[joint + 1][:3, 2], chain[joint + 1][:3, 3]
                expected[joint] += 9.81 * mass * np.cross(axis, com[:3] - origin)[2]
        assert np.allclose(world.gravity_nm, expected, atol=1e-4)  # Nm


def test_untouched_arm_stays_where_it_is(world):
    before = world.q_rad.copy()
    for _ in range(500):
        world.step(np.zeros(7))
    assert np.allclose(world.q_rad, before, atol=1e-9)
    assert world.time_ns == 500_000_000


def test_external_torque_is_zero_in_the_air_and_the_pressure_on_the_table(world):
    for _ in range(100):
        world.step(np.zeros(7))
    assert np.abs(world.tau_ext_nm).max() < 1e-6
    world.place_arm(np.array([0.0, 0.55, 0.0, -2.25, 0.0, 2.8, 0.785]), 0.0)
    jacobian = np.zeros((3, world.model.nv))
    for _ in range(1500):
        mujoco.mj_jacSite(world.model, world.data, jacobian, None, world.model.site("O_T_EE").id)
        world.step(jacobian[:, :7].T @ [0.0, 0.0, -10.0] - 2.0 * world.dq_rad_s)
    force = np.linalg.lstsq(jacobian[:, :7].T, world.tau_ext_nm, rcond=None)[0]
    assert force[2] == pytest.approx(-10.0, abs=2.0)  # N, what the arm exerts on the table


def test_reset_moves_the_objects_only_and_does_not_turn_time_back(world):
    for _ in range(10):
        world.step(np.zeros(7))
    q, cube = world.q_rad.copy(), world.data.joint("cube_joint0").qpos.copy()
    world.reset_objects(seed=42)
    assert np.array_equal(world.q_rad, q)
    assert not np.allclose(world.data.joint("cube_joint0").qpos, cube)
    assert (world.seed, world.episode, world.time_ns) == (42, 2, 10_000_000)


def test_equal_seeds_give_equal_worlds_bit_by_bit():
    def run():
        world, rng = World(task_named("lift"), seed=5), np.random.default_rng(0)
        for _ in range(200):
            world.step(rng.uniform(-5, 5, 7))
        return world.data.qpos.copy()

    assert np.array_equal(run(), run())


@pytest.mark.parametrize("task", ["lift", "transport"])
def test_a_step_in_two_halves_is_mujocos_own_step_bit_by_bit(task):
    halves, whole = World(task_named(task), seed=5), World(task_named(task), seed=5)
    for world in (halves, whole):  # the last arm presses the table
        world.arms[-1].place_arm(np.array([0.0, 0.55, 0.0, -2.25, 0.0, 2.8, 0.785]), 0.0)
    rng, model, data, felt_nm = np.random.default_rng(0), whole.model, whole.data, 0.0
    for step in range(700):
        tau = rng.uniform(-5, 5, 7 * len(whole.arms)) + [0.0, 8.0, 0.0, 0.0, 0.0, 0.0, 0.0] * len(whole.arms)
        if step == 200:
            halves.arms[-1].fingers.command(0.08, 0.1, 20.0)
            whole.arms[-1].fingers.command(0.08, 0.1, 20.0)
        for index, arm in enumerate(whole.arms):
            arm.motors_nm[:] = tau[7 * index : 7 * index + 7]
            arm.fingers.advance()
        mujoco.mj_step2(model, data)
        whole._estimate_external_torques()
        mujoco.mj_step1(model, data)
        halves.advance(tau)
        for mine, theirs in zip(halves.arms, whole.arms, strict=True):  # all that a robot state tells
            for name in ("q_rad", "dq_rad_s", "gravity_nm", "tau_ext_nm"):
                assert np.array_equal(getattr(mine, name), getattr(theirs, name)), f"{name} in step {step}"
            assert np.array_equal(mine.ee_pose(), theirs.ee_pose())
        halves.settle()
        assert np.array_equal(halves.data.qpos, data.qpos) and np.array_equal(halves.data.qvel, data.qvel)
        felt_nm = max(felt_nm, np.abs(whole.arms[-1].tau_ext_nm).max())
    assert felt_nm > 1.0


def test_success_is_judged_by_the_contacts_of_this_instant():
    hurried, patient = World(task_named("can"), seed=1), World(task_named("can"), seed=1)
    for _ in range(50):
        hurried.advance(np.zeros(7))
        patient.step(np.zeros(7))
        assert hurried.is_success() == patient.is_success()
        assert np.array_equal(hurried.data.contact.geom, patient.data.contact.geom)


def test_positions_of_another_world_are_refused(world):
    with pytest.raises(WorldError, match="'lift' has 16 positions"):
        world.set_positions(np.zeros(3))


def test_a_held_world_shows_the_start_whatever_the_torques_while_time_goes_by(world):
    world.q_rad[0] += 0.03
    world.update()
    world.hold_start(5)
    assert world.q_rad == pytest.approx(world.task.home_q_rad, abs=0) and (world.seed, world.episode) == (5, 2)
    shown, began_ns = world.data.qpos.copy(), world.time_ns
    for _ in range(50):
        world.step(np.full(7, 5.0))
    assert np.array_equal(world.data.qpos, shown) and not world.data.qvel.any()
    assert world.time_ns == began_ns + 50_000_000 and world.steady_steps == 49
    world.step(np.zeros(7))
    assert world.steady_steps == 0, "the torques have changed"
    world.release()
    world.step(np.full(7, 5.0))
    assert not world.held and not np.array_equal(world.data.qpos, shown)


def test_from_a_held_start_the_same_torques_give_the_same_motion_whatever_happened_before():
    def motion(steps_before, steps_held):
        world = World(task_named("lift"))
        for step in range(steps_before):
            world.step(np.full(7, 0.1 * (step % 3)))
        world.hold_start(3)
        for _ in range(steps_held):
            world.step(np.ones(7))
        world.release()
        for _ in range(100):
            world.step(np.linspace(-3.0, 3.0, 7))
        return world.data.qpos.tobytes()

    assert motion(0, 1) == motion(37, 12)


def test_an_arm_that_is_elsewhere_is_not_put_at_the_start_but_named(world):
    world.q_rad[3] += 0.5
    world.update()
    with pytest.raises(WorldError, match="an arm is 0.50 rad from where episodes begin; send it home first"):
        world.hold_start(0)
    assert not world.held
