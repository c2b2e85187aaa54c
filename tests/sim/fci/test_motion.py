"""Commands beyond the robot's limits end in the reflex that a robot would report."""

import numpy as np
import pytest

from sim.fci.kinematics import ArmKinematics, rotation_vector
from sim.fci.motion import CartesianMotion, JointController, JointMotion, Reference, ReflexError, TorqueMotion
from sim.fci.wire import Error, Generator
from sim.tasks import task_named
from sim.world import World


@pytest.fixture
def arm():
    world = World(task_named("lift"))
    kinematics = ArmKinematics(world.model)
    reference = Reference(q_rad=world.q_rad.copy(), pose=kinematics.pose(world.q_rad))
    return world, kinematics, reference, JointController(world)


def test_kinematics_agree_with_the_world_and_its_jacobian_with_differences(arm):
    world, kinematics, _, _ = arm
    q = world.q_rad.copy()
    pose = kinematics.pose(q)
    jacobian = kinematics.jacobian(pose)
    assert np.allclose(pose, world.ee_pose(), atol=1e-12)
    for joint in range(7):
        moved = kinematics.pose(q + 1e-6 * np.eye(7)[joint])
        linear = (moved[:3, 3] - pose[:3, 3]) / 1e-6
        angular = rotation_vector(moved[:3, :3] @ pose[:3, :3].T) / 1e-6
        assert np.allclose(jacobian[:, joint], [*linear, *angular], atol=1e-5)


def test_joint_positions_are_tracked_within_a_hundredth_of_a_degree(arm):
    world, kinematics, reference, inner = arm
    motion = JointMotion(kinematics, reference, inner, Generator.JOINT_POSITION)
    start = world.q_rad.copy()
    for step in range(1000):
        target = start + 0.1 * (1 - np.cos(np.pi * step * 1e-3))
        world.step(motion.torque({"q_c": target}))
    assert np.allclose(world.q_rad, start + 0.2, atol=2e-4)


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ({"dq_c": np.full(7, 3.0)}, Error.GENERATOR_VELOCITY_LIMITS),
        ({"dq_c": np.full(7, 0.1)}, Error.GENERATOR_VELOCITY_DISCONTINUITY),
        ({"dq_c": np.full(7, 0.0072)}, Error.GENERATOR_ACCELERATION_DISCONTINUITY),
        ({"dq_c": np.full(7, np.nan)}, Error.GENERATOR_VELOCITY_LIMITS),
    ],
)
def test_joint_velocity_steps_are_refused_by_what_they_break(arm, command, error):
    _, kinematics, reference, inner = arm
    with pytest.raises(ReflexError) as reflex:
        JointMotion(kinematics, reference, inner, Generator.JOINT_VELOCITY).torque(command)
    assert reflex.value.error is error


def test_cartesian_step_is_refused(arm):
    _, kinematics, reference, inner = arm
    motion = CartesianMotion(kinematics, reference, inner, Generator.CARTESIAN_VELOCITY)
    command = {"O_dP_EE_c": np.array([0.1, 0, 0, 0, 0, 0]), "valid_elbow": np.array([False])}
    with pytest.raises(ReflexError) as reflex:
        motion.torque(command)
    assert reflex.value.error is Error.CARTESIAN_VELOCITY_DISCONTINUITY


@pytest.mark.parametrize(
    ("tau", "error"),
    [
        (np.full(7, 2.0), Error.TORQUE_DISCONTINUITY),
        (np.full(7, np.nan), Error.TORQUE_DISCONTINUITY),
        (np.full(7, 1.0), None),
    ],
)
def test_torque_steps_above_a_newton_metre_per_millisecond_are_refused(arm, tau, error):
    world, _, reference, _ = arm
    motion = TorqueMotion(world, reference, Generator.NONE)
    if error is None:
        assert np.array_equal(motion.torque({"tau_J_d": tau}), tau)
        assert np.array_equal(motion.torque(None), tau)  # a lost packet repeats the last torques
        return
    with pytest.raises(ReflexError) as reflex:
        motion.torque({"tau_J_d": tau})
    assert reflex.value.error is error


def test_torques_beyond_the_drives_are_refused(arm):
    world, _, reference, _ = arm
    motion = TorqueMotion(world, reference, Generator.NONE)
    with pytest.raises(ReflexError) as reflex:
        for tau in range(20):
            motion.torque({"tau_J_d": np.array([0, 0, 0, 0, 0, 0, float(tau)])})
    assert reflex.value.error is Error.TORQUE_RANGE
