"""Where a motion may begin: between set-point and arm for an FR3, at the set-point for a Panda."""

import numpy as np
import pytest

from sim.fci.filters import Filters
from sim.fci.generators import CartesianGenerator, JointGenerator
from sim.fci.kinematic_arm import KinematicArm
from sim.fci.kinematics import ArmKinematics
from sim.fci.limits import FR3, PANDA
from sim.fci.reference import Reference, ReflexError
from sim.fci.wire import Error, Generator

READY = np.array([0.0, -0.785398, 0.0, -2.356194, 0.0, 1.570796, 0.785398])
LAG_RAD = np.array([3e-4, -5e-4, 2e-4, 8e-4, -1e-4, 2e-4, 5e-4])
"""As springs and friction leave it."""


class Lagging:
    """An arm that is a little off its set-point."""

    def __init__(self, limits):
        self.limits, self.q_rad = limits, READY + LAG_RAD
        self.kinematics = ArmKinematics(KinematicArm().model)
        self.reference = Reference(q_rad=READY.copy(), pose=self.kinematics.pose(READY))
        self.reference.rest()

    def begin(self, kind, mode):
        measured = self.q_rad if self.limits.starts_measured else None
        return kind(self.kinematics, self.reference, self.limits, Filters(), mode, measured)

    def joints(self):
        return self.begin(JointGenerator, Generator.JOINT_POSITION)

    def poses(self):
        return self.begin(CartesianGenerator, Generator.CARTESIAN_POSITION)


def pose_command(pose, elbow=None):
    return {
        "O_T_EE_c": pose.T.ravel(),
        "valid_elbow": np.array([elbow is not None]),
        "elbow_c": np.array([elbow or 0.0, -1.0]),
    }


def refused(generator, command):
    with pytest.raises(ReflexError) as reflex:
        generator.advance(command)
    return reflex.value.error


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_an_fr3_begins_joint_motions_anywhere_between_set_point_and_arm_and_at_rest(share):
    arm = Lagging(FR3)
    generator, begin = arm.joints(), READY + share * LAG_RAD
    for _ in range(5):
        generator.advance({"q_c": begin})
    assert np.array_equal(arm.reference.q_rad, begin) and not arm.reference.dq_rad_s.any()
    assert refused(generator, {"q_c": begin + 1e-4}) is Error.JOINT_MOTION_GENERATOR_VELOCITY_DISCONTINUITY


def test_an_fr3_follows_an_arm_that_still_settles_when_the_motion_begins():
    arm = Lagging(FR3)
    generator, seen = arm.joints(), arm.q_rad.copy()
    arm.q_rad -= 0.2 * LAG_RAD
    generator.advance({"q_c": seen - 0.1 * LAG_RAD})
    assert not arm.reference.dq_rad_s.any()


@pytest.mark.parametrize(
    ("offset", "error"),
    [
        (1e-4, Error.JOINT_MOTION_GENERATOR_VELOCITY_DISCONTINUITY),
        (6e-3, Error.JOINT_MOTION_GENERATOR_VELOCITY_LIMITS_VIOLATION),
        (0.02, Error.JOINT_POSITION_MOTION_GENERATOR_START_POSE_INVALID),
        (np.nan, Error.JOINT_POSITION_MOTION_GENERATOR_START_POSE_INVALID),
    ],
)
def test_what_lies_beyond_both_is_a_jump_as_ever(offset, error):
    arm = Lagging(FR3)
    assert refused(arm.joints(), {"q_c": arm.q_rad + np.sign(LAG_RAD) * offset}) is error
    assert np.isfinite(arm.reference.q_rad).all()


def test_a_panda_begins_at_its_set_point_only():
    arm = Lagging(PANDA)
    arm.joints().advance({"q_c": READY})
    assert refused(arm.joints(), {"q_c": arm.q_rad}) is Error.JOINT_MOTION_GENERATOR_VELOCITY_DISCONTINUITY


def test_an_fr3_begins_cartesian_motions_at_the_measured_pose_and_elbow():
    arm = Lagging(FR3)
    pose, generator = arm.kinematics.pose(arm.q_rad), arm.poses()
    for _ in range(5):
        generator.advance(pose_command(pose, float(arm.q_rad[2])))
    assert np.allclose(arm.reference.q_rad, arm.q_rad, atol=1e-9)
    assert np.abs(arm.reference.dq_rad_s).max() < 1e-6 and arm.reference.elbow_rad_s == 0.0
    pose[0, 3] += 5e-5
    assert refused(generator, pose_command(pose)) is Error.CARTESIAN_MOTION_GENERATOR_VELOCITY_DISCONTINUITY


def test_an_fr3_still_begins_cartesian_motions_at_its_set_point():
    arm = Lagging(FR3)
    generator = arm.poses()
    generator.advance(pose_command(arm.reference.pose.copy(), float(READY[2])))
    assert np.array_equal(arm.reference.q_rad, READY)


def test_poses_and_elbows_beyond_both_are_refused_as_ever():
    arm = Lagging(FR3)
    far, jump = arm.kinematics.pose(arm.q_rad), arm.kinematics.pose(arm.q_rad)
    far[0, 3] += 0.02
    jump[0, 3] += 0.004
    assert refused(arm.poses(), pose_command(far)) is Error.CARTESIAN_POSITION_MOTION_GENERATOR_START_POSE_INVALID
    assert refused(arm.poses(), pose_command(jump)) is Error.CARTESIAN_MOTION_GENERATOR_VELOCITY_LIMITS_VIOLATION
    here = pose_command(arm.reference.pose.copy(), float(arm.q_rad[2]) + 0.1)
    assert refused(arm.poses(), here) is Error.CARTESIAN_MOTION_GENERATOR_START_ELBOW_INVALID
    nowhere = pose_command(arm.reference.pose.copy(), float("nan"))
    assert refused(arm.poses(), nowhere) is Error.CARTESIAN_MOTION_GENERATOR_START_ELBOW_INVALID
    assert np.isfinite(arm.reference.elbow_rad)
