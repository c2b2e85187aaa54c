"""Modes, motions, reflexes and settings of the robot, without a network."""

import numpy as np
import pytest

from sim.fci.kinematic_arm import KinematicArm
from sim.fci.motion import MoveRequest
from sim.fci.robot import LOST_COMMANDS_TO_REFLEX, RECOVERY_CYCLES, SENSE_CYCLES, Robot
from sim.fci.wire import PROTOCOLS, Controller, Error, Generator, RobotMode
from sim.tasks import task_named
from sim.world.world import World

JOINT_VELOCITY = MoveRequest(controller=Controller.JOINT_IMPEDANCE, generator=Generator.JOINT_VELOCITY)
TORQUE = MoveRequest(controller=Controller.EXTERNAL, generator=Generator.NONE)
SINGULAR = np.array([0.0, 0.0, np.pi / 2, -1.5, 0.0, 1.57, 0.0])
"""Turned upper arm, straight shoulder: the first and the third joint move the hand alike."""
CARTESIAN = MoveRequest(controller=Controller.CARTESIAN_IMPEDANCE, generator=Generator.CARTESIAN_POSITION)


class Driver:
    """Runs a robot by the millisecond."""

    def __init__(self, arm=None, version=10):
        self.arm = arm or KinematicArm()
        self.robot = Robot(self.arm, PROTOCOLS[version])
        self.fields = self.robot._state.fields
        self.time_ms = 0
        self.blank = {name: np.zeros(shape) for name, shape in _SHAPES.items()}

    def step(self, count=1, expected=False, **command):
        for _ in range(count):
            self.time_ms += 1
            self.robot.state(self.time_ms)
            self.arm.step(self.robot.torque({**self.blank, **command} if command else None, expected))
        self.robot.state(self.time_ms)

    @property
    def errors(self):
        return [Error(i) for i in np.flatnonzero(self.fields["errors"])]

    @property
    def mode(self):
        return RobotMode(int(self.fields["robot_mode"][0]))


_SHAPES = {"q_c": 7, "dq_c": 7, "O_T_EE_c": 16, "O_dP_EE_c": 6, "elbow_c": 2, "tau_J_d": 7}
_SHAPES |= dict.fromkeys(("valid_elbow", "motion_finished", "torque_finished"), 1)


@pytest.fixture
def driver():
    return Driver()


@pytest.fixture(scope="module")
def loaded():
    return World(task_named("lift"))


@pytest.fixture
def physical(loaded):
    loaded.place_arm(np.array(loaded.task.home_q_rad), 0.04)
    loaded.tau_ext_nm[:] = 0.0
    return Driver(loaded)


def test_a_motion_shows_in_the_state_and_ends_with_its_last_command(driver):
    assert driver.robot.start_motion(JOINT_VELOCITY) == "started"
    driver.step(dq_c=np.zeros(7))
    modes = driver.fields["motion_generator_mode"][0], driver.fields["controller_mode"][0]
    assert (driver.mode, *modes) == (RobotMode.MOVE, Generator.JOINT_VELOCITY, Controller.JOINT_IMPEDANCE)
    driver.step(dq_c=np.zeros(7), motion_finished=np.ones(1))
    modes = driver.fields["motion_generator_mode"][0], driver.fields["controller_mode"][0]
    assert (driver.mode, *modes) == (RobotMode.IDLE, Generator.IDLE, Controller.OTHER)
    assert driver.robot.ended == "success"


@pytest.mark.parametrize(
    ("request_", "outcome"),
    [
        (MoveRequest(controller=Controller.JOINT_IMPEDANCE, generator=Generator.NONE), "invalid"),
        (
            MoveRequest(
                controller=Controller.JOINT_IMPEDANCE,
                generator=Generator.JOINT_POSITION,
                max_path_deviation=(-1.0, 0.0, 0.0),
            ),
            "invalid",
        ),
        (
            MoveRequest(
                controller=Controller.JOINT_IMPEDANCE,
                generator=Generator.JOINT_POSITION,
                async_velocity_rad_s=np.zeros(7),
            ),
            "invalid",
        ),
    ],
)
def test_moves_that_make_no_sense_are_refused(driver, request_, outcome):
    assert driver.robot.start_motion(request_) == outcome
    assert driver.robot.motion is None


def test_a_second_motion_and_one_in_reflex_are_not_possible(driver):
    driver.robot.start_motion(JOINT_VELOCITY)
    assert driver.robot.start_motion(JOINT_VELOCITY) == "not_possible"
    driver.robot.reflex(Error.JOINT_REFLEX)
    assert driver.robot.start_motion(JOINT_VELOCITY) == "not_possible"


def test_no_cartesian_motion_starts_at_a_singular_pose(driver):
    driver.robot.place_arm(SINGULAR, 0.04)
    assert driver.robot.start_motion(CARTESIAN) == "singular"
    assert driver.robot.start_motion(JOINT_VELOCITY) == "started"


def test_lost_commands_are_counted_and_twenty_in_a_row_are_a_violation(driver):
    driver.robot.start_motion(JOINT_VELOCITY)
    driver.step(dq_c=np.zeros(7))
    driver.step(LOST_COMMANDS_TO_REFLEX - 1, expected=True)
    assert driver.mode is RobotMode.MOVE
    assert driver.fields["control_command_success_rate"][0] == pytest.approx(0.81)
    driver.step(dq_c=np.zeros(7))
    driver.step(LOST_COMMANDS_TO_REFLEX, expected=True)
    assert (driver.mode, driver.errors) == (RobotMode.REFLEX, [Error.COMMUNICATION_CONSTRAINTS_VIOLATION])
    assert driver.robot.ended == "reflex" and driver.fields["control_command_success_rate"][0] == 0.0


def test_recovery_takes_its_time_and_clears_the_errors_but_not_the_reason(driver):
    driver.robot.start_motion(JOINT_VELOCITY)
    driver.robot.reflex(Error.JOINT_REFLEX)
    driver.step(5)
    assert driver.robot.recover() == "pending"
    driver.step()
    assert (driver.mode, driver.errors) == (RobotMode.RECOVERY, [])
    assert driver.robot.recover() == "not_possible"
    driver.step(RECOVERY_CYCLES)
    assert driver.mode is RobotMode.IDLE
    assert driver.fields["reflex_reason"][Error.JOINT_REFLEX]
    driver.robot.start_motion(JOINT_VELOCITY)
    assert not driver.fields["reflex_reason"].any()


def test_recovery_pulls_a_joint_back_inside_its_travel(physical):
    low = physical.robot.limits.q_min_rad[3]
    q = np.array(physical.arm.task.home_q_rad)
    q[3] = low - 0.003
    physical.robot.place_arm(q, 0.04)
    physical.robot.start_motion(TORQUE)
    physical.step(tau_J_d=np.zeros(7))
    assert physical.errors == [Error.JOINT_POSITION_LIMITS_VIOLATION]
    assert physical.robot.recover() == "pending"
    physical.step(200)
    assert physical.mode is RobotMode.IDLE and physical.arm.q_rad[3] > low


def test_a_stop_brakes_within_the_joints_accelerations(driver):
    driver.robot.start_motion(JOINT_VELOCITY)
    for step in range(300):
        driver.step(dq_c=np.full(7, 0.5 * (1 - np.cos(np.pi * step / 300))))
    before = driver.arm.q_rad.copy()
    driver.robot.stop()
    assert driver.robot.ended == "preempted"
    driver.step(1)
    assert driver.fields["dq_d"].max() > 0.9
    driver.step(300)
    gone = driver.arm.q_rad - before
    assert np.allclose(gone, 0.5 * 1.0**2 / driver.robot.limits.ddq_rad_s2, rtol=0.05)
    assert not driver.fields["dq_d"].any()


def test_user_stop_aborts_and_holds_until_it_is_let_go(driver):
    driver.robot.start_motion(JOINT_VELOCITY)
    driver.robot.press_user_stop(True)
    driver.step()
    assert (driver.mode, driver.robot.ended) == (RobotMode.USER_STOPPED, "user_stop")
    assert driver.robot.start_motion(JOINT_VELOCITY) == driver.robot.recover() == "not_possible"
    driver.robot.press_user_stop(False)
    assert driver.robot.start_motion(JOINT_VELOCITY) == "started"


def test_a_stop_button_does_not_heal_a_reflex(driver):
    driver.robot.reflex(Error.JOINT_REFLEX)
    driver.robot.press_user_stop(True)
    driver.robot.press_user_stop(False)
    assert driver.robot.mode is RobotMode.REFLEX


def test_a_guided_arm_is_held_where_the_hand_left_it(physical):
    physical.robot.start_motion(JOINT_VELOCITY)
    physical.robot.guide(True)
    assert physical.robot.ended == "aborted"
    physical.step(300)
    physical.arm.data.qvel[1] = 0.5
    physical.step(300)
    assert physical.mode is RobotMode.GUIDING
    moved = physical.arm.q_rad.copy()
    assert moved[1] - physical.arm.task.home_q_rad[1] > 0.03
    physical.robot.guide(False)
    physical.step(300)
    assert physical.mode is RobotMode.IDLE
    assert np.allclose(physical.arm.q_rad, moved, atol=0.01)


def test_an_arm_put_elsewhere_no_longer_feels_what_it_touched(physical):
    physical.arm.tau_ext_nm[:] = 30.0
    physical.robot.place_arm(np.array(physical.arm.task.home_q_rad), 0.04)
    physical.robot.start_motion(TORQUE)
    physical.step(20, tau_J_d=np.zeros(7))
    assert physical.mode is RobotMode.MOVE and not physical.fields["joint_contact"].any()


def test_contact_shows_below_the_collision_threshold_and_collision_above_it(physical):
    monitor, arm = physical.robot.contacts, physical.arm
    monitor.nominal.contact_nm, monitor.nominal.collision_nm = np.full(7, 5.0), np.full(7, 10.0)
    monitor.nominal.contact = monitor.nominal.collision = np.full(6, 500.0)
    physical.robot.start_motion(TORQUE)
    for torque, contact, collision in ((3.0, 0.0, 0.0), (-7.0, 1.0, 0.0), (12.0, 1.0, 1.0)):
        arm.tau_ext_nm[:] = 0.0
        arm.tau_ext_nm[1] = torque
        physical.robot.state(1)
        assert physical.fields["joint_contact"].tolist() == [0, contact, 0, 0, 0, 0, 0]
        assert physical.fields["joint_collision"].tolist() == [0, collision, 0, 0, 0, 0, 0]
    assert physical.errors == [Error.JOINT_REFLEX]
    arm.tau_ext_nm[:] = 0.0
    physical.step(SENSE_CYCLES)
    assert not physical.fields["joint_contact"].any()
    assert physical.fields["joint_collision"].any(), "a collision stays until somebody recovers the robot"
    physical.robot.recover()
    assert not physical.fields["joint_collision"].any()


def test_forces_are_judged_in_the_stiffness_frame_and_harder_while_accelerating(physical):
    monitor, arm, robot = physical.robot.contacts, physical.arm, physical.robot
    turned = np.eye(4)
    turned[:3, :3] = [[0, 0, 1], [0, 1, 0], [-1, 0, 0]]
    turned[:3, 3] = 0.0, 0.0, 0.05
    robot.set_stiffness_frame(turned)
    pose = arm.ee_pose() @ turned
    robot._kinematics.pose(arm.q_rad)
    arm.tau_ext_nm[:] = robot._kinematics.jacobian(pose).T @ [3.0, 4.0, 30.0, 0.0, 0.0, 0.0]
    for thresholds in (monitor.nominal, monitor.accelerating):
        thresholds.collision_nm = np.full(7, 500.0)
    monitor.nominal.collision = np.array([500.0, 500.0, 500.0, 50.0, 50.0, 50.0])
    robot.start_motion(TORQUE)
    robot.state(1)
    assert np.allclose(physical.fields["O_F_ext_hat_K"], [3, 4, 30, 0, 0, 0], atol=1e-2)
    in_k = pose[:3, :3].T @ [3.0, 4.0, 30.0]
    assert np.allclose(physical.fields["K_F_ext_hat_K"][:3], in_k, atol=1e-2)
    assert robot.mode is RobotMode.MOVE
    robot._reference.ddq_rad_s2[:] = 5.0  # the nominal thresholds allow this force, those for acceleration do not
    robot.state(2)
    assert physical.errors == [Error.CARTESIAN_REFLEX]
    axis = int(np.argmax(np.abs(in_k)))
    assert physical.fields["cartesian_collision"][axis] == 1.0


def test_a_declared_load_weighs_nothing_on_the_estimates_and_lifts_when_it_is_not_there(physical):
    robot, arm = physical.robot, physical.arm
    physical.step(5)
    bare = physical.fields["tau_J"].copy()
    robot.set_load(0.5, np.array([0.0, 0.0, 0.1]), 1e-3 * np.eye(3).ravel())
    robot.state(1)
    weight = physical.fields["tau_J"] - bare
    assert np.abs(weight[1]) > 1.0
    arm.tau_ext_nm[:] = weight  # what the hand feels once it holds the load
    robot.state(2)
    assert np.allclose(physical.fields["tau_ext_hat_filtered"], 0.0, atol=1e-4)
    arm.tau_ext_nm[:] = 0.0
    height = arm.ee_pose()[2, 3]
    robot.start_motion(TORQUE)
    physical.step(300, tau_J_d=np.zeros(7))
    assert arm.ee_pose()[2, 3] > height + 0.01
    assert physical.fields["m_load"][0] == pytest.approx(0.5)


def test_a_tool_shows_in_every_frame(driver):
    tool = np.eye(4)
    tool[:3, 3] = 0.0, 0.01, 0.1
    before = driver.arm.ee_pose()
    driver.robot.set_tool(tool)
    driver.step()
    fields = {
        name: driver.fields[name].reshape(4, 4).T for name in ("O_T_EE", "O_T_EE_c", "F_T_EE", "F_T_NE", "NE_T_EE")
    }
    assert np.allclose(fields["O_T_EE"], before @ tool, atol=1e-6)
    assert np.allclose(fields["O_T_EE_c"], before @ tool, atol=1e-6)
    assert np.allclose(fields["F_T_EE"], fields["F_T_NE"] @ tool, atol=1e-6)
    assert np.allclose(fields["NE_T_EE"], tool)


def test_an_arm_about_to_fold_onto_itself_is_stopped(driver):
    driver.robot.start_motion(TORQUE)
    folded = np.array([0.0, -1.7, 0.0, -3.0, 0.0, 0.6, 0.785])
    driver.arm.place_arm(folded, 0.04)
    driver.robot._pose = driver.robot._measured_pose()
    driver.robot.state(20)
    assert driver.errors == [Error.SELF_COLLISION_AVOIDANCE_VIOLATION]


def test_a_hand_faster_than_its_limit_is_stopped(driver):
    driver.robot.start_motion(TORQUE)
    driver.robot.state(1)
    q = driver.arm.q_rad + [0.0, 0.02, 0, 0, 0, 0, 0]
    driver.arm.place_arm(q, 0.04)
    driver.robot.state(2)
    assert driver.errors == [Error.CARTESIAN_VELOCITY_VIOLATION]


def test_torques_are_reported_and_the_set_point_goes_along(physical):
    physical.robot.start_motion(TORQUE)
    tau = np.array([0.0, -0.9, 0.0, 0.0, 0.0, 0.0, 0.3])
    physical.step(100, tau_J_d=tau)
    assert np.allclose(physical.fields["tau_J_d"], tau)
    assert np.allclose(physical.fields["tau_J"], tau + physical.arm.gravity_nm, atol=1e-5)
    assert np.allclose(physical.fields["q_d"], physical.fields["q"], atol=2e-3)
    assert np.allclose(physical.fields["O_T_EE_d"], physical.fields["O_T_EE"], atol=2e-3)


def test_torques_with_a_generator_keep_its_set_point(physical):
    request = MoveRequest(controller=Controller.EXTERNAL, generator=Generator.JOINT_VELOCITY)
    physical.robot.start_motion(request)
    start = physical.arm.q_rad.copy()
    physical.step(200, tau_J_d=np.array([0.0, -0.9, 0, 0, 0, 0, 0]))
    assert np.allclose(physical.fields["q_d"], start, atol=1e-6)
    assert not np.allclose(physical.arm.q_rad, start, atol=1e-3)
    physical.step(tau_J_d=np.zeros(7), motion_finished=np.ones(1))
    physical.step(300)
    assert np.allclose(physical.fields["q_d"], physical.arm.q_rad, atol=2e-3), "it holds where the torques left it"


def test_the_elbow_flips_where_frankas_does(driver):
    for q4, flip in ((-0.46, 1.0), (-0.47, -1.0)):
        q = np.array(driver.arm.q_rad)
        q[3] = q4
        driver.robot.place_arm(q, 0.04)
        driver.step()
        assert driver.fields["elbow"][1] == driver.fields["elbow_c"][1] == flip
