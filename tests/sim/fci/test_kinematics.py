"""Forward kinematics, Jacobian and a load's weight, against the world and finite differences."""

import mujoco
import numpy as np
import pytest

from d2ppo_core.geometry import rotation_vector
from d2ppo_core.runtime.safety.kinematics import FLANGE_M, posture
from sim.fci.hand import F_T_EE
from sim.fci.kinematic_arm import KinematicArm
from sim.fci.kinematics import ArmKinematics, load_torque


@pytest.fixture
def arm():
    return KinematicArm()


def test_kinematics_agree_with_the_arm_and_its_jacobian_with_differences(arm):
    kinematics = ArmKinematics(arm.model)
    q = arm.q_rad.copy()
    pose = kinematics.pose(q)
    jacobian = kinematics.jacobian(pose)
    assert np.allclose(pose, arm.ee_pose(), atol=1e-12)
    for joint in range(7):
        moved = kinematics.pose(q + 1e-6 * np.eye(7)[joint])
        linear = (moved[:3, 3] - pose[:3, 3]) / 1e-6
        angular = rotation_vector(moved[:3, :3] @ pose[:3, :3].T) / 1e-6
        assert np.allclose(jacobian[:, joint], [*linear, *angular], atol=1e-5)


def test_the_plain_kinematics_of_the_run_time_are_those_of_the_simulated_arm(arm):
    kinematics = ArmKinematics(arm.model)
    for q in np.random.default_rng(0).uniform(-2.5, 2.5, (20, 7)):
        pose, plain = kinematics.pose(q), posture(q, F_T_EE)
        assert np.allclose(plain.pose, pose, atol=1e-9)
        assert np.allclose(plain.jacobian(), kinematics.jacobian(pose), atol=1e-9)


def test_a_tool_moves_the_end_effector(arm):
    kinematics = ArmKinematics(arm.model)
    before, tool = kinematics.pose(arm.q_rad), np.eye(4)
    tool[:3, 3] = 0.0, 0.0, 0.1
    kinematics.ne_T_ee = tool
    assert np.allclose(kinematics.pose(arm.q_rad)[:3, 3], before[:3, 3] + 0.1 * before[:3, 2])


def test_load_torque_is_the_gradient_of_the_loads_height(arm):
    com, mass = np.array([0.02, -0.03, 0.12]), 0.8
    link7 = arm.model.body("robot0_link7").id

    def height(q):
        arm.place_arm(q, 0.04)
        return (arm.data.xpos[link7] + arm.data.xmat[link7].reshape(3, 3) @ (com + [0, 0, FLANGE_M]))[2]

    q = arm.q_rad.copy()
    slope = [(height(q + 1e-6 * unit) - height(q - 1e-6 * unit)) / 2e-6 for unit in np.eye(7)]
    arm.place_arm(q, 0.04)
    mujoco.mj_comPos(arm.model, arm.data)
    assert np.allclose(load_torque(arm, mass, com), 9.81 * mass * np.array(slope), atol=1e-6)  # Nm
