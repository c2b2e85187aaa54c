"""A Panda owner's program: panda-python (libfranka 0.9.2), run by the tests in a process of its own.

    python panda_client.py ADDRESS CASE

Prints one JSON object; an exception of the client becomes its "error".
"""

import json
import sys
import threading
import time

import numpy as np
from panda_py import libfranka as lf

JOINT, CARTESIAN = lf.ControllerMode.kJointImpedance, lf.ControllerMode.kCartesianImpedance
MOTION_S = 0.5


def connect(address):
    """A robot without errors, whatever a program before this one did to it."""
    robot = lf.Robot(address, lf.RealtimeConfig.kIgnore)
    if sys.argv[2] != "errors":
        robot.automatic_error_recovery()
    return robot


def half_cosine(t):
    """From 0 to 1 within MOTION_S, at rest at both ends."""
    return 0.5 * (1 - np.cos(np.pi * min(t / MOTION_S, 1.0)))


def full_cosine(t):
    """From 0 to 1 and back within MOTION_S."""
    return 0.5 * (1 - np.cos(2 * np.pi * min(t / MOTION_S, 1.0)))


def command_of(kind, value_at):
    """A callback for libfranka that sends `value_at(seconds)` until the motion is over."""
    clock = [0.0]

    def callback(state, period):
        clock[0] += period.to_sec()
        command = kind(value_at(clock[0]))
        command.motion_finished = clock[0] >= MOTION_S
        return command

    return callback


def joint_positions(robot, reach=0.1):
    start = np.array(robot.read_once().q_d)
    return command_of(lf.JointPositions, lambda t: list(start + reach * half_cosine(t)))


def joint_velocities(robot):
    return command_of(lf.JointVelocities, lambda t: [0.2 * full_cosine(t)] * 7)


def poses(robot):
    start = np.array(robot.read_once().O_T_EE_c)
    return command_of(lf.CartesianPose, lambda t: list(start + 0.04 * half_cosine(t) * np.eye(16)[14]))


def twists(robot):
    return command_of(lf.CartesianVelocities, lambda t: [0.0, 0.0, 0.1 * full_cosine(t), 0.0, 0.0, 0.0])


def torques(robot):
    return command_of(lf.Torques, lambda t: [0.0] * 6 + [0.8 * np.sin(2 * np.pi * t / MOTION_S)])


def read(robot):
    state, model = robot.read_once(), robot.load_model()
    frames = [lf.Frame.kJoint4, lf.Frame.kFlange, lf.Frame.kEndEffector, lf.Frame.kStiffness]
    return {
        "server_version": robot.server_version(),
        "mode": state.robot_mode.name,
        "q": state.q,
        "O_T_EE": state.O_T_EE,
        "m_total": state.m_total,
        "poses": [model.pose(frame, state) for frame in frames],
        "jacobian": model.zero_jacobian(lf.Frame.kEndEffector, state),
        "body_jacobian": model.body_jacobian(lf.Frame.kEndEffector, state),
        "gravity": model.gravity(state),
        "mass": model.mass(state),
        "coriolis": model.coriolis(state),
        "tau_J": state.tau_J,
    }


def motions(robot):
    """Every kind of motion under every controller that takes it; where the robot was before and after."""
    ways = {
        "joint_position": lambda: robot.control_joint_position(joint_positions(robot), JOINT, True, 1000.0),
        "joint_velocity": lambda: robot.control_joint_velocity(joint_velocities(robot), JOINT, True, 1000.0),
        "cartesian_pose": lambda: robot.control_cartesian_pose(poses(robot), JOINT, True, 1000.0),
        "cartesian_velocity": lambda: robot.control_cartesian_velocity(twists(robot), JOINT, True, 1000.0),
        "joint_position, Cartesian impedance": lambda: robot.control_joint_position(
            joint_positions(robot), CARTESIAN, True, 1000.0
        ),
        "cartesian_pose, Cartesian impedance": lambda: robot.control_cartesian_pose(
            poses(robot), CARTESIAN, True, 1000.0
        ),
        "joint_velocity, Cartesian impedance": lambda: robot.control_joint_velocity(
            joint_velocities(robot), CARTESIAN, True, 1000.0
        ),
        "cartesian_velocity, Cartesian impedance": lambda: robot.control_cartesian_velocity(
            twists(robot), CARTESIAN, True, 1000.0
        ),
        "torque": lambda: robot.control(torques(robot), True, 1000.0),
        "torque and joint_position": lambda: robot.control_torque_joint_position(
            torques(robot), joint_positions(robot), True, 1000.0
        ),
        "torque and joint_velocity": lambda: robot.control_torque_joint_velocity(
            torques(robot), joint_velocities(robot), True, 1000.0
        ),
        "torque and cartesian_pose": lambda: robot.control_torque_cartesian_pose(
            torques(robot), poses(robot), True, 1000.0
        ),
        "torque and cartesian_velocity": lambda: robot.control_torque_cartesian_velocity(
            torques(robot), twists(robot), True, 1000.0
        ),
        "joint_position, low-passed": lambda: robot.control_joint_position(joint_positions(robot), JOINT, True, 100.0),
    }
    result = {}
    for name, move in ways.items():
        time.sleep(0.1)  # an arm that torques moved is still braking
        before = robot.read_once()
        move()
        after = robot.read_once()
        result[name] = {
            "q": (np.array(after.q) - before.q).tolist(),
            "z": after.O_T_EE[14] - before.O_T_EE[14],
            "mode": after.robot_mode.name,
        }
    return result


def jump(robot):
    """Steps that a robot refuses, one after the other, each followed by recovery; what the client was told."""
    q = np.array(robot.read_once().q_d)
    pose = np.array(robot.read_once().O_T_EE_c)
    tilted = pose.copy()
    tilted[12] += 0.02
    tries = {
        "joint start": lambda: robot.control_joint_position(
            lambda s, d: lf.JointPositions(list(q + 0.2)), JOINT, False
        ),
        "joint velocity": lambda: robot.control_joint_velocity(
            lambda s, d: lf.JointVelocities([3.0] * 7), JOINT, False, 1000.0
        ),
        "joint acceleration": lambda: robot.control_joint_velocity(
            lambda s, d: lf.JointVelocities([0.1] * 7), JOINT, False, 1000.0
        ),
        "joint jerk": lambda: robot.control_joint_velocity(
            lambda s, d: lf.JointVelocities([0.005] * 7), JOINT, False, 1000.0
        ),
        "pose start": lambda: robot.control_cartesian_pose(
            lambda s, d: lf.CartesianPose(list(tilted)), JOINT, False, 1000.0
        ),
        "twist": lambda: robot.control_cartesian_velocity(
            lambda s, d: lf.CartesianVelocities([2.0] + [0.0] * 5), JOINT, False, 1000.0
        ),
        "twist acceleration": lambda: robot.control_cartesian_velocity(
            lambda s, d: lf.CartesianVelocities([0.05] + [0.0] * 5), JOINT, False, 1000.0
        ),
        "twist jerk": lambda: robot.control_cartesian_velocity(
            lambda s, d: lf.CartesianVelocities([0.008] + [0.0] * 5), JOINT, False, 1000.0
        ),
        "elbow": lambda: robot.control_cartesian_pose(
            lambda s, d: lf.CartesianPose(list(pose), [0.1, -1.0]), JOINT, False, 1000.0
        ),
        "elbow sign": lambda: robot.control_cartesian_pose(
            lambda s, d: lf.CartesianPose(list(pose), [s.elbow_c[0], 1.0]), JOINT, False, 1000.0
        ),
        "torque": lambda: robot.control(lambda s, d: lf.Torques([3.0] * 7), False, 1000.0),
        "end in motion": lambda: robot.control_joint_velocity(
            command_of(lf.JointVelocities, lambda t: [0.3 * half_cosine(t)] * 7), JOINT, True, 1000.0
        ),
    }
    result = {}
    for name, refused in tries.items():
        try:
            refused()
            result[name] = "accepted"
        except RuntimeError as error:
            result[name] = str(error)
        result[f"{name}, mode"] = robot.read_once().robot_mode.name
        robot.automatic_error_recovery()
    result["mode"] = robot.read_once().robot_mode.name
    return result


def limited(robot):
    """A step that the client's own rate limiter (on by default) turns into a motion at the robot's limits."""
    clock, fastest = [0.0], np.zeros(2)

    def callback(state, period):
        clock[0] += period.to_sec()
        fastest[:] = np.maximum(fastest, [np.abs(state.dq_d).max(), np.abs(state.ddq_d).max()])
        order = lf.JointVelocities([0.6 if clock[0] < 0.15 else 0.0] * 7)
        order.motion_finished = clock[0] > 1.0
        return order

    robot.control_joint_velocity(callback, JOINT, True, 1000.0)
    return {"dq_rad_s": fastest[0], "ddq_rad_s2": fastest[1]}


def preempted(robot):
    """Another thread stops a motion."""
    stopper = threading.Timer(0.3, robot.stop)
    stopper.start()
    still = list(robot.read_once().q_d)
    try:
        robot.control_joint_position(lambda s, d: lf.JointPositions(still), JOINT, True, 1000.0)
    except RuntimeError as error:
        return {"error": str(error), "mode": robot.read_once().robot_mode.name}
    return {"error": ""}


def settings(robot):
    """What the state says after every setter, and how nonsense is refused."""
    tool = np.eye(4)
    tool[:3, 3] = 0.0, 0.0, 0.1
    before = robot.read_once()
    robot.set_ee(list(tool.ravel(order="F")))
    robot.set_k(list(tool.ravel(order="F")))
    robot.set_load(0.7, [0.0, 0.0, 0.1], list(1e-3 * np.eye(3).ravel()))
    robot.set_joint_impedance([1000.0] * 7)
    robot.set_cartesian_impedance([500.0] * 3 + [30.0] * 3)
    robot.set_guiding_mode([True] * 6, False)
    robot.set_collision_behavior(*[[20.0] * 7] * 4, *[[20.0] * 6] * 4)
    time.sleep(0.05)
    after, refused = robot.read_once(), {}
    for name, call in {
        "set_ee": lambda: robot.set_ee([2.0] * 16),
        "set_load": lambda: robot.set_load(-1.0, [0.0] * 3, [0.0] * 9),
        "set_joint_impedance": lambda: robot.set_joint_impedance([1e6] * 7),
        "set_cartesian_impedance": lambda: robot.set_cartesian_impedance([1.0] * 6),
    }.items():
        try:
            call()
        except RuntimeError as error:
            refused[name] = str(error)
    robot.set_ee(list(np.eye(4).ravel()))
    robot.set_k(list(np.eye(4).ravel()))
    robot.set_load(0.0, [0.0] * 3, [0.0] * 9)
    robot.set_joint_impedance([3000.0, 3000.0, 3000.0, 2500.0, 2500.0, 2000.0, 2000.0])
    robot.set_cartesian_impedance([3000.0] * 3 + [300.0] * 3)
    return {
        "O_T_EE": [before.O_T_EE, after.O_T_EE],
        "F_T_EE": [before.F_T_EE, after.F_T_EE],
        "EE_T_K": after.EE_T_K,
        "m_load": after.m_load,
        "m_total": after.m_total,
        "tau_J": [before.tau_J, after.tau_J],
        "refused": refused,
    }


def errors(robot):
    """For each line on standard input: which error flags are set; then recovery. Ends with the input."""
    for _ in sys.stdin:
        time.sleep(0.01)
        state = robot.read_once()
        current, last = str(state.current_errors), str(state.last_motion_errors)
        robot.automatic_error_recovery()
        print(json.dumps({"current": current, "last": last, "mode": state.robot_mode.name}), flush=True)
    return {}


def hold(robot):
    """Hold still until something ends the motion; says when it has begun."""
    still, begun = list(robot.read_once().q_d), []

    def callback(state, period):
        if not begun:
            begun.append(print("holding", flush=True))
        return lf.JointPositions(still)

    try:
        robot.control_joint_position(callback, JOINT, True, 1000.0)
    except RuntimeError as error:
        return {"error": str(error)}
    return {"error": ""}


def gripper(address):
    hand = lf.Gripper(address)
    result = {"server_version": hand.server_version(), "homing": hand.homing(), "open": hand.read_once().width}
    result["move"], result["moved"] = hand.move(0.03, 0.1), hand.read_once().width
    result["grasp"] = hand.grasp(0.0, 0.1, 20.0, 0.005, 0.005)
    result["grasped"] = [hand.read_once().is_grasped, hand.read_once().width]
    result["missed"] = hand.grasp(0.06, 0.1, 20.0, 0.005, 0.005)
    result["stop"] = hand.stop()
    result["max_width"], result["temperature"] = hand.read_once().max_width, hand.read_once().temperature
    return result


CASES = {f.__name__: f for f in (read, motions, jump, limited, preempted, settings, errors, hold)}

if __name__ == "__main__":
    address, case = sys.argv[1:3]
    print(json.dumps(gripper(address) if case == "gripper" else CASES[case](connect(address))))
