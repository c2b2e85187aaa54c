"""Set-points beyond the robot's limits end in the reflex that a robot would report, those within do not."""

import numpy as np
import pytest

from sim.fci.filters import Filters, gain
from sim.fci.generators import AsyncJointGenerator, CartesianGenerator, JointGenerator, coast, is_singular
from sim.fci.kinematic_arm import KinematicArm
from sim.fci.kinematics import ArmKinematics
from sim.fci.limits import FR3, PANDA
from sim.fci.reference import Reference, ReflexError
from sim.fci.wire import Error, Generator

READY = np.array([0.0, -0.785398, 0.0, -2.356194, 0.0, 1.570796, 0.785398])
DT = 1e-3


class Setup:
    def __init__(self, limits=PANDA, q=READY):
        self.kinematics = ArmKinematics(KinematicArm().model)
        self.reference = Reference(q_rad=q.copy(), pose=self.kinematics.pose(q))
        self.reference.rest()
        self.limits, self.filters = limits, Filters()

    def joint(self, mode):
        return JointGenerator(self.kinematics, self.reference, self.limits, self.filters, mode)

    def cartesian(self, mode):
        return CartesianGenerator(self.kinematics, self.reference, self.limits, self.filters, mode)


@pytest.fixture
def setup():
    return Setup()


def velocity_command(dq):
    return {"dq_c": np.asarray(dq, float)}


def pose_command(pose, elbow=None):
    angle, flip = elbow or (0.0, 0.0)
    return {
        "O_T_EE_c": pose.T.ravel(),
        "valid_elbow": np.array([elbow is not None]),
        "elbow_c": np.array([angle, flip]),
    }


def twist_command(twist):
    return {"O_dP_EE_c": np.asarray(twist, float), "valid_elbow": np.array([False]), "elbow_c": np.zeros(2)}


def refused(generator, command):
    with pytest.raises(ReflexError) as reflex:
        generator.advance(command)
    return reflex.value.error


def ramp(generator, wanted, limits):
    """Raise joint velocities to `wanted` in the shortest half cosine that keeps acceleration and jerk limits."""
    by_acceleration = np.max(wanted * np.pi / (2 * limits.ddq_rad_s2))
    by_jerk = np.max(np.sqrt(wanted * np.pi**2 / (2 * limits.dddq_rad_s3)))
    steps = int(np.ceil(1.01 * max(by_acceleration, by_jerk) / DT)) + 1
    for step in range(1, steps + 1):
        generator.advance(velocity_command(wanted * 0.5 * (1 - np.cos(np.pi * step / steps))))
    return steps


@pytest.mark.parametrize("limits", [PANDA, FR3])
@pytest.mark.parametrize(
    ("share", "error"),
    [
        ("dq_rad_s", Error.JOINT_MOTION_GENERATOR_VELOCITY_LIMITS_VIOLATION),
        ("ddq_rad_s2", Error.JOINT_MOTION_GENERATOR_VELOCITY_DISCONTINUITY),
        ("dddq_rad_s3", Error.JOINT_MOTION_GENERATOR_ACCELERATION_DISCONTINUITY),
    ],
)
def test_joint_velocities_are_refused_by_the_first_limit_they_break(limits, share, error):
    over = {"dq_rad_s": 1.01, "ddq_rad_s2": 1.1 * DT, "dddq_rad_s3": 1.2 * DT * DT}[share]
    for joint in range(7):
        setup, command = Setup(limits), np.zeros(7)
        command[joint] = over * getattr(limits, share)[joint]
        assert refused(setup.joint(Generator.JOINT_VELOCITY), velocity_command(command)) is error


def test_nan_is_refused(setup):
    error = refused(setup.joint(Generator.JOINT_VELOCITY), velocity_command(np.full(7, np.nan)))
    assert error is Error.JOINT_MOTION_GENERATOR_VELOCITY_LIMITS_VIOLATION


def test_a_ramp_at_the_limits_passes(setup):
    generator, wanted = setup.joint(Generator.JOINT_VELOCITY), 0.9 * PANDA.dq_rad_s
    assert 300 < ramp(generator, wanted, PANDA) < 500
    assert np.allclose(setup.reference.dq_rad_s, wanted)
    assert np.allclose(setup.reference.twist, setup.kinematics.jacobian(setup.reference.pose) @ wanted)


def test_positions_and_velocities_say_the_same(setup):
    position, other = setup.joint(Generator.JOINT_POSITION), Setup()
    velocity = other.joint(Generator.JOINT_VELOCITY)
    q = READY.copy()
    for step in range(200):
        dq = 0.2 * np.ones(7) * (1 - np.cos(np.pi * step / 400))
        q = q + DT * dq
        position.advance({"q_c": q})
        velocity.advance(velocity_command(dq))
    assert np.allclose(setup.reference.q_rad, other.reference.q_rad, atol=1e-12)
    assert np.allclose(setup.reference.dq_rad_s, other.reference.dq_rad_s, atol=1e-9)


@pytest.mark.parametrize(
    ("step_rad", "error"),
    [
        (0.02, Error.JOINT_POSITION_MOTION_GENERATOR_START_POSE_INVALID),
        (0.003, Error.JOINT_MOTION_GENERATOR_VELOCITY_LIMITS_VIOLATION),
        (0.001, Error.JOINT_MOTION_GENERATOR_VELOCITY_DISCONTINUITY),
    ],
)
def test_a_first_position_elsewhere_is_an_invalid_start_or_a_jump(setup, step_rad, error):
    assert refused(setup.joint(Generator.JOINT_POSITION), {"q_c": READY + step_rad}) is error


def test_joint_limits_end_the_way(setup):
    setup.reference.q_rad[0] = PANDA.q_max_rad[0] - 1e-7
    command = velocity_command([0.001, 0, 0, 0, 0, 0, 0])
    error = refused(setup.joint(Generator.JOINT_VELOCITY), command)
    assert error is Error.JOINT_MOTION_GENERATOR_POSITION_LIMITS_VIOLATION


def test_an_fr3_slows_down_towards_the_end_of_its_travel():
    middle, near = 0.5 * (FR3.q_max_rad + FR3.q_min_rad), FR3.q_max_rad - 0.05
    assert np.array_equal(FR3.velocity_bounds(middle)[1], FR3.dq_rad_s)
    low, high = FR3.velocity_bounds(near)
    assert (high < 0.7 * FR3.dq_rad_s).all() and np.array_equal(low, -FR3.dq_rad_s)
    assert high[0] == pytest.approx(np.sqrt(2 * 6.0 * 0.05) - 0.3)
    assert np.array_equal(PANDA.velocity_bounds(near)[1], PANDA.dq_rad_s)


def test_a_motion_must_come_to_rest_before_it_ends(setup):
    generator = setup.joint(Generator.JOINT_VELOCITY)
    generator.advance(velocity_command(0.5e-6 * PANDA.dddq_rad_s3))
    generator.check_end()
    ramp(generator, np.full(7, 0.1), PANDA)
    with pytest.raises(ReflexError, match="joint_motion_generator_velocity_discontinuity"):
        generator.check_end()


def test_without_commands_the_set_point_coasts(setup):
    generator = setup.joint(Generator.JOINT_VELOCITY)
    ramp(generator, np.full(7, 0.1), PANDA)
    generator.advance(velocity_command(np.full(7, 0.1)))
    before = setup.reference.q_rad.copy()
    for _ in range(10):
        generator.advance(None)
    assert np.allclose(setup.reference.q_rad, before + 0.001)
    setup.reference.ddq_rad_s2[:] = 1e6
    coast(setup.reference, PANDA, Error.JOINT_MOTION_GENERATOR_POSITION_LIMITS_VIOLATION)
    assert (setup.reference.dq_rad_s <= PANDA.dq_rad_s).all()


@pytest.mark.parametrize("limits", [PANDA, FR3])
@pytest.mark.parametrize("part", [0, 1])
@pytest.mark.parametrize(
    ("share", "over", "error"),
    [
        ("speed", 1.01, Error.CARTESIAN_MOTION_GENERATOR_VELOCITY_LIMITS_VIOLATION),
        ("acceleration", 1.1 * DT, Error.CARTESIAN_MOTION_GENERATOR_VELOCITY_DISCONTINUITY),
        ("jerk", 1.2 * DT * DT, Error.CARTESIAN_MOTION_GENERATOR_ACCELERATION_DISCONTINUITY),
    ],
)
def test_twists_are_refused_by_the_first_limit_they_break(limits, part, share, over, error):
    setup, twist = Setup(limits), np.zeros(6)
    twist[3 * part + 1] = over * getattr(limits, share)[part]
    assert refused(setup.cartesian(Generator.CARTESIAN_VELOCITY), twist_command(twist)) is error


def test_poses_are_followed_exactly(setup):
    generator, start = setup.cartesian(Generator.CARTESIAN_POSITION), setup.reference.pose.copy()
    for step in range(1, 401):
        wanted = start.copy()
        wanted[2, 3] += 0.02 * (1 - np.cos(np.pi * step / 400))
        generator.advance(pose_command(wanted))
    generator.check_end()
    assert np.allclose(setup.kinematics.pose(setup.reference.q_rad), wanted, atol=1e-8)


def test_a_first_pose_elsewhere_and_a_twisted_frame_are_refused(setup):
    start = setup.reference.pose
    elsewhere, twisted = start.copy(), start.copy()
    elsewhere[0, 3] += 0.01
    twisted[:3, 0] *= 1.01
    for pose, error in (
        (elsewhere, Error.CARTESIAN_POSITION_MOTION_GENERATOR_START_POSE_INVALID),
        (twisted, Error.CARTESIAN_POSITION_MOTION_GENERATOR_INVALID_FRAME_FLAG),
        (np.full((4, 4), np.nan), Error.CARTESIAN_POSITION_MOTION_GENERATOR_INVALID_FRAME_FLAG),
    ):
        assert refused(setup.cartesian(Generator.CARTESIAN_POSITION), pose_command(pose)) is error


def test_the_elbow_goes_where_it_is_told_while_the_hand_stays(setup):
    generator, start = setup.cartesian(Generator.CARTESIAN_POSITION), setup.reference.pose.copy()
    for step in range(1, 1001):
        angle = 0.1 * (1 - np.cos(np.pi * step / 1000))
        generator.advance(pose_command(start, (angle, -1.0)))
    assert setup.reference.q_rad[2] == pytest.approx(0.2, abs=1e-6)
    assert np.allclose(setup.kinematics.pose(setup.reference.q_rad), start, atol=1e-7)


@pytest.mark.parametrize(
    ("elbow", "error"),
    [
        ((0.05, -1.0), Error.CARTESIAN_MOTION_GENERATOR_START_ELBOW_INVALID),
        ((0.0, 1.0), Error.CARTESIAN_MOTION_GENERATOR_ELBOW_SIGN_INCONSISTENT),
        ((0.004, -1.0), Error.CARTESIAN_MOTION_GENERATOR_ELBOW_LIMIT_VIOLATION),
    ],
)
def test_elbows_that_cannot_be_are_refused(setup, elbow, error):
    generator = setup.cartesian(Generator.CARTESIAN_POSITION)
    assert refused(generator, pose_command(setup.reference.pose, elbow)) is error


def test_joints_that_cannot_follow_the_hand_are_named():
    stretched = np.array([0.0, 0.0, 0.0, -0.10, 0.0, 1.65, 0.785])
    setup = Setup(q=stretched)
    generator, speed = setup.cartesian(Generator.CARTESIAN_VELOCITY), 0.0
    with pytest.raises(ReflexError) as reflex:
        for step in range(1, 1000):
            speed = min(0.5, 2e-3 * step)
            generator.advance(twist_command([0.0, 0.0, speed, 0.0, 0.0, 0.0]))
    assert reflex.value.error.name.startswith("CARTESIAN_MOTION_GENERATOR_JOINT_")


def test_a_stretched_arm_is_singular_and_a_bent_one_is_not(setup):
    assert not is_singular(setup.kinematics, READY)
    assert is_singular(setup.kinematics, np.zeros(7))


def test_asynchronous_targets_are_reached_at_the_given_speed(setup):
    setup.limits = FR3
    generator = AsyncJointGenerator(setup.kinematics, setup.reference, FR3, np.full(7, 0.4))
    target = READY + np.array([0.3, -0.2, 0.1, 0.0, 0.2, 0.1, -0.3])
    generator.advance({"q_c": target})
    fastest, steps = 0.0, 0
    while not np.allclose(setup.reference.q_rad, target, atol=1e-6) and steps < 3000:
        generator.advance(None)
        assert (np.abs(setup.reference.ddq_rad_s2) <= FR3.ddq_rad_s2).all()
        fastest, steps = max(fastest, np.abs(setup.reference.dq_rad_s).max()), steps + 1
    assert fastest == pytest.approx(0.4) and 700 < steps < 1200
    assert refused(generator, {"q_c": np.full(7, 5.0)}) is Error.JOINT_MOTION_GENERATOR_POSITION_LIMITS_VIOLATION


def test_a_filter_smooths_a_command_that_would_be_refused(setup):
    step = velocity_command(1.5e-6 * PANDA.dddq_rad_s3)
    assert refused(setup.joint(Generator.JOINT_VELOCITY), step)
    setup.filters.joint_velocity = gain(50.0)
    generator = setup.joint(Generator.JOINT_VELOCITY)
    for _ in range(200):
        generator.advance(step)
    assert np.allclose(setup.reference.dq_rad_s, step["dq_c"], rtol=1e-3)


def test_filters_let_everything_pass_at_their_highest_frequency():
    assert gain(1000.0) == 1.0 and 0.0 < gain(1.0) < 0.01
