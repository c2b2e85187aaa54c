"""Clients that no one here wrote: panda-python at a Panda (protocol 5), pylibfranka at an FR3 (protocol 10)."""

import json

import numpy as np
import pytest

from sim.fci.hand import F_T_EE, hand_load
from sim.fci.kinematic_arm import KinematicArm
from sim.fci.kinematics import ArmKinematics
from sim.fci.wire import Error

pytestmark = pytest.mark.timeout(300)  # the world waits for its clients: a busy machine only slows them down
VERSIONS = {"panda_client": 5, "pylibfranka_client": 10}
REACH_RAD, RISE_M = 0.1, 0.04
REFUSALS = {
    "joint start": Error.JOINT_POSITION_MOTION_GENERATOR_START_POSE_INVALID,
    "joint velocity": Error.JOINT_MOTION_GENERATOR_VELOCITY_LIMITS_VIOLATION,
    "joint acceleration": Error.JOINT_MOTION_GENERATOR_VELOCITY_DISCONTINUITY,
    "joint jerk": Error.JOINT_MOTION_GENERATOR_ACCELERATION_DISCONTINUITY,
    "pose start": Error.CARTESIAN_POSITION_MOTION_GENERATOR_START_POSE_INVALID,
    "twist": Error.CARTESIAN_MOTION_GENERATOR_VELOCITY_LIMITS_VIOLATION,
    "twist acceleration": Error.CARTESIAN_MOTION_GENERATOR_VELOCITY_DISCONTINUITY,
    "twist jerk": Error.CARTESIAN_MOTION_GENERATOR_ACCELERATION_DISCONTINUITY,
    "torque": Error.CONTROLLER_TORQUE_DISCONTINUITY,
    "elbow": Error.CARTESIAN_MOTION_GENERATOR_START_ELBOW_INVALID,
    "elbow sign": Error.CARTESIAN_MOTION_GENERATOR_ELBOW_SIGN_INCONSISTENT,
    "end in motion": Error.JOINT_MOTION_GENERATOR_VELOCITY_DISCONTINUITY,
}
PRINTED = {Error.TAU_J_RANGE_VIOLATION: "tau_J_range_violation"}


@pytest.fixture(scope="module", params=VERSIONS)
def client(request, client_bench, module_address):
    with client_bench(module_address, request.param, "--robot-version", str(VERSIONS[request.param])) as bench:
        yield bench


def matrix(values, columns=4):
    """Franka's matrices are column-major."""
    return np.reshape(values, (columns, -1)).T


def bare(name):
    """The name of a mode, with or without the k of C++."""
    return name.removeprefix("k")


def test_client_and_arm_agree_on_frames_masses_and_torques(client):
    told = client.run("read")
    arm = KinematicArm(robot={5: "panda", 10: "fr3"}[VERSIONS[client._script]])
    assert bare(told["mode"]) == "Idle" and told.get("server_version", 10) == VERSIONS[client._script]
    assert np.allclose(told["q"], arm.q_rad, atol=1e-6)
    kinematics = ArmKinematics(arm.model)
    pose = kinematics.pose(arm.q_rad)
    assert np.allclose(matrix(told["O_T_EE"]), pose, atol=1e-6)
    assert np.allclose(matrix(told["jacobian"], 7), kinematics.jacobian(pose), atol=1e-5)
    assert np.allclose(told["gravity"], arm.gravity_nm, atol=0.01)  # Nm; fingers open or closed
    assert np.allclose(told["gravity"], told["tau_J"], atol=0.01)
    mass = matrix(told["mass"], 7)
    assert np.allclose(mass, mass.T, atol=1e-9) and (np.linalg.eigvalsh(mass) > 0.0).all()
    assert np.allclose(told["coriolis"], 0.0, atol=1e-9)  # at rest
    if "poses" in told:
        _, flange, end_effector, stiffness = (matrix(values) for values in told["poses"])
        assert np.allclose(flange @ F_T_EE, end_effector, atol=1e-12) and np.array_equal(end_effector, stiffness)
        assert told["m_total"] == pytest.approx(hand_load(arm.model).mass_kg)


def test_every_motion_ends_where_it_should(client):
    told = client.run("motions")
    assert len(told) == {5: 14, 10: 9}[VERSIONS[client._script]]
    for name, outcome in told.items():
        assert bare(outcome["mode"]) == "Idle", name
        soft = "impedance" in name
        if name.startswith("joint_position"):
            assert np.allclose(outcome["q"], REACH_RAD, atol=6e-3 if soft else 3e-4), name
        elif name.startswith("joint_velocity"):
            assert np.allclose(outcome["q"], 0.05, atol=6e-3 if soft else 3e-4), name  # 0.1 rad/s, 0.5 s
        elif name.startswith("cartesian_pose"):
            assert outcome["z"] == pytest.approx(RISE_M, abs=2e-3 if soft else 2e-4), name
        elif name.startswith("cartesian_velocity"):
            assert outcome["z"] == pytest.approx(0.025, abs=2e-3 if soft else 2e-4), name
        else:  # torques move the joint that they act on and, whatever a generator says, no other
            assert outcome["q"][6] > 5e-3 and np.abs(outcome["q"][:6]).max() < 1e-3, name


def test_every_step_is_refused_by_name_and_recovered_from(client):
    told = client.run("jump")
    tried = [name for name in REFUSALS if name in told]
    assert len(tried) == {5: 12, 10: 9}[VERSIONS[client._script]]
    for name in tried:
        assert f'["{REFUSALS[name].name.lower()}"]' in told[name], name
        assert bare(told[f"{name}, mode"]) == "Reflex", name
    assert bare(told["mode"]) == "Idle"


def test_each_of_the_41_errors_is_read_by_its_own_name(client):
    with client.start("errors") as process:
        for error in Error:
            client.inject(error.name.lower())
            process.stdin.write("\n")
            process.stdin.flush()
            told = json.loads(process.stdout.readline())
            printed = PRINTED.get(error, error.name.lower())
            assert told["current"] == told["last"] == f'["{printed}"]'
            assert bare(told["mode"]) == "Reflex"
        process.stdin.close()
        process.stdin = None
        process.wait(timeout=60.0)


def test_a_stop_preempts_a_motion(client):
    told = client.run("preempted")
    assert "Move command preempted" in told["error"] and bare(told["mode"]) == "Idle"


def test_setters_show_in_the_state_and_nonsense_is_refused(client):
    told = client.run("settings")
    before, after = (matrix(values) for values in told["F_T_EE"])
    tool = np.eye(4)
    tool[2, 3] = 0.1
    assert np.allclose(after, before @ tool, atol=1e-6) and np.allclose(matrix(told["EE_T_K"]), tool, atol=1e-6)
    before, after = (matrix(values) for values in told["O_T_EE"])
    assert np.allclose(after, before @ tool, atol=5e-3)  # the load has lifted the arm a little
    assert told["m_load"] == pytest.approx(0.7) and told["m_total"] == pytest.approx(0.7 + 0.76)
    assert len(told["refused"]) == 4
    for error in told["refused"].values():
        assert "command rejected: invalid argument!" in error


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("user_stop 0.3", "Move command aborted: User Stop pressed!"),
        ("guiding 0.3", "Move command aborted"),
        ("lost_commands 0.3", "communication_constraints_violation"),
        (
            "lost_states 0.05",
            "communication_constraints_violation",
        ),  # robot time; libfranka waits 1 s of ours
        ("joint_reflex", '["joint_reflex"]'),
        ("network_cut 1.5", ""),
    ],
)
def test_a_fault_ends_a_motion_as_the_client_expects(client, fault, message):
    told = client.ended_by(fault)
    assert message in told and told
    if fault.startswith("network_cut"):
        assert "imeout" in told or "communication_constraints_violation" in told
    with client.start("errors") as process:  # recovers the robot for the next test
        process.communicate("\n", timeout=60.0)


def test_the_hand_homes_moves_grasps_and_says_when_it_missed(client):
    told = client.run("gripper")
    assert told["server_version"] == 3 and told["homing"] and told["move"] and told["stop"]
    assert told["open"] == pytest.approx(0.08, abs=1e-3) and told["moved"] == pytest.approx(0.03, abs=1e-3)
    assert told["grasp"] and told["grasped"][0] and told["grasped"][1] < 2e-3
    assert not told["missed"]
    assert (told["max_width"], told["temperature"]) == (0.08, 30)
    client.inject("gripper_blocked")
    blocked = client.run("gripper")
    client.inject("clear")
    assert not blocked["move"] and not blocked["homing"]
