"""The robot's own controllers on the simulated arm: stiffness is what a client set, in the frame it set."""

import mujoco
import numpy as np
import pytest

from sim.fci.bounds import inside
from sim.fci.control import CARTESIAN_STIFFNESS, JOINT_STIFFNESS_NM_RAD, ExternalTorque, Guiding, Ideal
from sim.fci.filters import Filters
from sim.fci.kinematic_arm import KinematicArm
from sim.fci.kinematics import ArmKinematics
from sim.fci.limits import PANDA
from sim.fci.motion import laws_for
from sim.fci.reference import Reference, ReflexError
from sim.fci.wire import Controller, Error
from sim.tasks import task_named
from sim.world.world import World

READY = np.array([0.0, -0.785398, 0.0, -2.356194, 0.0, 1.570796, 0.785398])
HAND = "robot0_right_hand"


@pytest.fixture(scope="module")
def loaded():
    return World(task_named("lift"))


@pytest.fixture
def world(loaded):
    loaded.data.xfrc_applied[:] = 0.0
    loaded.model.dof_frictionloss[:7] = 0.0  # deflections are then those of the springs alone
    loaded.model.opt.disableflags &= ~int(mujoco.mjtDisableBit.mjDSBL_CONTACT)
    loaded.place_arm(READY, 0.04)
    return loaded


@pytest.fixture
def arm(world):
    kinematics = ArmKinematics(world.model)
    reference = Reference(q_rad=READY.copy(), pose=kinematics.pose(READY))
    reference.rest()
    return world, kinematics, reference, laws_for(world, PANDA, kinematics)


def settle(world, law, reference, seconds=1.5):
    for _ in range(round(1e3 * seconds)):
        world.step(law.torque(reference, None))


def push(world, force_n):
    """A force at the end effector, base axes."""
    body, site = world.model.body(HAND).id, world.data.site("O_T_EE")
    arm = site.xpos - world.data.xipos[body]
    world.data.xfrc_applied[body] = [*force_n, *np.cross(arm, force_n)]


def test_joints_give_way_by_force_over_stiffness(arm):
    world, kinematics, reference, laws = arm
    for stiffness in (JOINT_STIFFNESS_NM_RAD, np.full(7, 400.0)):
        world.place_arm(READY, 0.04)
        laws.joint.set_stiffness(stiffness)
        for _ in range(2000):
            push(world, np.array([0.0, 10.0, 0.0]))
            world.step(laws.joint.torque(reference, None))
        external = kinematics.jacobian(kinematics.pose(world.q_rad))[1] * 10.0
        assert np.allclose(world.q_rad - READY, external / stiffness, rtol=0.03, atol=2e-4)  # rad
        assert np.abs(world.dq_rad_s).max() < 1e-3


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_hand_gives_way_by_force_over_cartesian_stiffness(arm, axis):
    world, _, reference, laws = arm
    start, force = world.ee_pose(), np.zeros(3)
    force[axis] = 5.0
    stiffness = np.array([400.0, 600.0, 1000.0, 50.0, 50.0, 50.0])
    laws.cartesian.set_stiffness(stiffness)
    for _ in range(2000):
        push(world, force)
        world.step(laws.cartesian.torque(reference, None))
    gone = world.ee_pose()[:3, 3] - start[:3, 3]
    rotation = start[:3, :3]  # the stiffness frame is the hand's own
    expected = rotation @ ((rotation.T @ force) / stiffness[:3])
    assert np.allclose(gone, expected, atol=6e-4)  # m
    assert np.abs(world.dq_rad_s).max() < 2e-3


def test_stiffness_acts_along_the_frame_that_was_set(arm):
    world, _, reference, laws = arm
    turned = np.eye(4)
    turned[:3, :3] = [[0, 0, 1], [0, 1, 0], [-1, 0, 0]]  # K's x axis along the hand's -z
    laws.cartesian.ee_T_k = turned
    laws.cartesian.set_stiffness(np.array([3000.0, 300.0, 300.0, 100.0, 100.0, 100.0]))
    start = world.ee_pose()
    for _ in range(2000):
        push(world, np.array([0.0, 0.0, 5.0]))
        world.step(laws.cartesian.torque(reference, None))
    up = (world.ee_pose()[:3, 3] - start[:3, 3])[2]
    assert up == pytest.approx(5.0 / 3000.0, abs=5e-4)


def test_the_elbow_comes_back_under_cartesian_impedance(arm):
    world, _, reference, laws = arm
    world.dq_rad_s[:] = [0.3, 0.0, -0.3, 0.0, 0.0, 0.0, 0.0]
    settle(world, laws.cartesian, reference, 3.0)
    assert np.allclose(world.q_rad, READY, atol=0.02)
    assert np.allclose(world.ee_pose()[:3, 3], reference.pose[:3, 3], atol=1e-3)


@pytest.mark.parametrize("name", ["joint", "cartesian"])
def test_a_moving_set_point_is_tracked(arm, name):
    world, kinematics, reference, laws = arm
    law = getattr(laws, name)
    for step in range(1500):
        phase = np.pi * step / 1500
        reference.q_rad = READY + 0.15 * (1 - np.cos(phase))
        reference.dq_rad_s = np.full(7, 0.15 * np.pi / 1.5 * np.sin(phase))
        reference.ddq_rad_s2 = np.full(7, 0.15 * (np.pi / 1.5) ** 2 * np.cos(phase))
        reference.pose = kinematics.pose(reference.q_rad)
        world.step(law.torque(reference, None))
    assert np.allclose(world.ee_pose()[:3, 3], reference.pose[:3, 3], atol={"joint": 1e-3, "cartesian": 4e-3}[name])


def test_torques_stay_within_the_drives(arm):
    _, _, reference, laws = arm
    reference.q_rad = READY + 2.0
    reference.pose = np.eye(4)
    for law in (laws.joint, laws.cartesian):
        assert inside(law.torque(reference, None), PANDA.tau_nm.tolist())


def test_a_guided_arm_follows_a_hand_along_its_free_axes_only(arm):
    world, kinematics, reference, _ = arm
    free = np.array([True, False, False, False, False, False, False])
    law, start = Guiding(world, kinematics, free), world.ee_pose()
    for _ in range(600):
        push(world, np.array([8.0, 8.0, 0.0]))
        world.step(law.torque(reference, None))
    gone = world.ee_pose()[:3, 3] - start[:3, 3]
    assert gone[0] > 0.03 and np.abs(gone[1:]).max() < 6e-3  # m
    world.place_arm(READY, 0.04)
    free_law = Guiding(world, kinematics, np.ones(7, bool))
    for _ in range(600):
        push(world, np.array([0.0, 8.0, 0.0]))
        world.step(free_law.torque(reference, None))
    assert (world.ee_pose()[:3, 3] - start[:3, 3])[1] > 0.05


@pytest.mark.parametrize("joint", range(7))
@pytest.mark.parametrize("end", [-1.0, 1.0])
def test_the_end_of_a_joints_travel_pushes_back_as_hard_as_a_hand_pushes(arm, joint, end):
    world, kinematics, reference, _ = arm
    law, pushed_nm, q = Guiding(world, kinematics, np.ones(7, bool)), 4.0 * end, READY.copy()
    limit = (PANDA.q_min_rad, PANDA.q_max_rad)[end > 0.0][joint]
    q[joint] = limit - 0.01 * end
    world.place_arm(q, 0.04)
    world.model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_CONTACT)  # some ends are beyond the table
    others = np.arange(7) != joint
    for _ in range(600):
        world.step(law.torque(reference, None) + np.where(others, 0.0, pushed_nm))
        world.q_rad[others], world.dq_rad_s[others] = q[others], 0.0
    end_nm = world.data.qfrc_constraint[world.arms[0].dofs][joint]
    assert world.q_rad[joint] == pytest.approx(limit, abs=5e-3)  # rad
    assert end_nm == pytest.approx(-pushed_nm, rel=0.1)  # Nm


@pytest.mark.parametrize(
    ("tau", "error"),
    [
        (np.full(7, 2.0), Error.CONTROLLER_TORQUE_DISCONTINUITY),
        (np.full(7, np.nan), Error.CONTROLLER_TORQUE_DISCONTINUITY),
        (np.full(7, 1.0), None),
    ],
)
def test_torque_steps_above_a_newton_metre_per_millisecond_are_refused(arm, tau, error):
    world, _, reference, _ = arm
    law = ExternalTorque(world, PANDA, Filters())
    if error is None:
        assert np.array_equal(law.torque(reference, {"tau_J_d": tau}), tau)
        assert np.array_equal(law.torque(reference, None), tau)  # a lost packet repeats the last torques
        return
    with pytest.raises(ReflexError) as reflex:
        law.torque(reference, {"tau_J_d": tau})
    assert reflex.value.error is error


def test_torques_beyond_the_drives_are_refused(arm):
    world, _, reference, _ = arm
    law = ExternalTorque(world, PANDA, Filters())
    with pytest.raises(ReflexError) as reflex:
        for tau in range(20):
            law.torque(reference, {"tau_J_d": np.array([0, 0, 0, 0, 0, 0, float(tau)])})
    assert reflex.value.error is Error.TAU_J_RANGE_VIOLATION


@pytest.mark.parametrize(
    ("joint", "angle", "speed", "error"),
    [
        (3, PANDA.q_max_rad[3] + 0.01, 0.0, Error.JOINT_POSITION_LIMITS_VIOLATION),
        (6, 0.0, 3.0, Error.JOINT_VELOCITY_VIOLATION),
    ],
)
def test_an_arm_that_torques_drove_too_far_or_too_fast_is_stopped(arm, joint, angle, speed, error):
    world, _, reference, _ = arm
    q = READY.copy()
    q[joint] = angle
    world.place_arm(q, 0.04)
    world.dq_rad_s[joint] = speed
    with pytest.raises(ReflexError) as reflex:
        ExternalTorque(world, PANDA, Filters()).torque(reference, {"tau_J_d": np.zeros(7)})
    assert reflex.value.error is error


def test_an_ideal_arm_is_where_its_set_point_is():
    ideal = KinematicArm()
    reference = Reference(q_rad=READY.copy(), pose=np.eye(4))
    law = Ideal(ideal, Controller.JOINT_IMPEDANCE)
    ideal.step(law.torque(reference, None))
    assert np.array_equal(ideal.q_rad, READY)


def test_the_default_stiffness_is_frankas():
    assert JOINT_STIFFNESS_NM_RAD.tolist() == [3000, 3000, 3000, 2500, 2500, 2000, 2000]
    assert CARTESIAN_STIFFNESS.tolist() == [3000, 3000, 3000, 300, 300, 300]
