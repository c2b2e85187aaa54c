"""Franka's own Python client: pylibfranka (libfranka 0.21), run by the tests in a process of its own.

    python pylibfranka_client.py ADDRESS CASE

Prints one JSON object; what the client raises is told in it.
"""

import json
import sys
import time

import numpy as np
import pylibfranka as lf

JOINT, CARTESIAN = lf.ControllerMode.JointImpedance, lf.ControllerMode.CartesianImpedance
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


def follow(control, command_at, duration_s=MOTION_S):
    """Answer every state until the motion is over."""
    clock = 0.0
    while True:
        _, period = control.readOnce()
        clock += period.to_sec()
        command = command_at(clock)
        command.motion_finished = clock >= duration_s
        control.writeOnce(command)
        if command.motion_finished:
            return


def read(robot):
    state, model = robot.read_once(), robot.load_model()
    return {
        "mode": state.robot_mode.name,
        "q": list(state.q),
        "O_T_EE": list(state.O_T_EE),
        "jacobian": list(model.zero_jacobian(state)),
        "gravity": list(model.gravity(state)),
        "mass": list(model.mass(state)),
        "coriolis": list(model.coriolis(state)),
        "tau_J": list(state.tau_J),
    }


def ways(robot):
    """How to start every kind of motion, and what to command then."""
    start = np.array(robot.read_once().q_d)
    pose = np.array(robot.read_once().O_T_EE_c)
    positions = lambda t: lf.JointPositions(list(start + 0.1 * half_cosine(t)))  # noqa: E731
    poses = lambda t: lf.CartesianPose(list(pose + 0.04 * half_cosine(t) * np.eye(16)[14]))  # noqa: E731
    velocities = lambda t: lf.JointVelocities([0.2 * full_cosine(t)] * 7)  # noqa: E731
    twists = lambda t: lf.CartesianVelocities([0.0, 0.0, 0.1 * full_cosine(t), 0.0, 0.0, 0.0])  # noqa: E731
    torques = lambda t: lf.Torques([0.0] * 6 + [0.8 * np.sin(2 * np.pi * t / MOTION_S)])  # noqa: E731
    return {
        "joint_position": (lambda: robot.start_joint_position_control(JOINT), positions),
        "joint_velocity": (lambda: robot.start_joint_velocity_control(JOINT), velocities),
        "cartesian_pose": (lambda: robot.start_cartesian_pose_control(JOINT), poses),
        "cartesian_velocity": (lambda: robot.start_cartesian_velocity_control(JOINT), twists),
        "joint_position, Cartesian impedance": (lambda: robot.start_joint_position_control(CARTESIAN), positions),
        "cartesian_pose, Cartesian impedance": (lambda: robot.start_cartesian_pose_control(CARTESIAN), poses),
        "joint_velocity, Cartesian impedance": (lambda: robot.start_joint_velocity_control(CARTESIAN), velocities),
        "cartesian_velocity, Cartesian impedance": (lambda: robot.start_cartesian_velocity_control(CARTESIAN), twists),
        "torque": (robot.start_torque_control, torques),
    }


def motions(robot):
    """Where the robot was before and after every kind of motion."""
    result = {}
    for name in ways(robot):
        start, command_at = ways(robot)[name]
        before = robot.read_once()
        follow(start(), command_at)
        after = robot.read_once()
        result[name] = {
            "q": (np.array(after.q) - before.q).tolist(),
            "z": after.O_T_EE[14] - before.O_T_EE[14],
            "mode": after.robot_mode.name,
        }
    return result


def asynchronous(robot):
    """Joint targets at 20 Hz; the robot finds its own way with the velocities it was given."""
    handler = lf.AsyncPositionControlHandler
    configuration = handler.Configuration(maximum_joint_velocities=[0.4] * 7, goal_tolerance=0.005)
    outcome = handler.configure(robot, configuration)
    control, start = outcome.handler, np.array(robot.read_once().q)
    targets, statuses = [start + 0.1, start + np.array([0.2, 0, 0, 0, 0, 0, 0])], []
    for target in targets:
        control.set_joint_position_target(handler.JointPositionTarget(joint_positions=list(target)))
        deadline = time.monotonic() + 20.0
        feedback = control.get_target_feedback()
        while "Reached" not in feedback.status.name and time.monotonic() < deadline:
            time.sleep(0.05)
            feedback = control.get_target_feedback()
        statuses.append(feedback.status.name)
    control.stop_control()
    state = robot.read_once()
    return {
        "statuses": statuses,
        "error": float(np.abs(np.array(state.q) - targets[-1]).max()),
        "mode": state.robot_mode.name,
    }


def measured(robot):
    """Motions that start where the arm is, as libfranka's examples do since 0.15; how far it was from its set-point."""
    kinds = {
        "joint_position": (robot.start_joint_position_control, lambda state: np.array(state.q), lf.JointPositions),
        "cartesian_pose": (robot.start_cartesian_pose_control, lambda state: np.array(state.O_T_EE), lf.CartesianPose),
    }
    rise = {"joint_position": np.full(7, 0.05), "cartesian_pose": 0.04 * np.eye(16)[14]}
    result = {}
    for turn in range(3):
        for name, (start, where, command) in kinds.items():
            control = start(JOINT)
            state, _ = control.readOnce()
            begin, up = where(state), (1 - 2 * (turn % 2)) * rise[name]
            control.writeOnce(command(list(begin)))
            lag = float(np.abs(np.array(state.q) - state.q_d).max())
            at = lambda t, c=command, b=begin, u=up: c(list(b + u * half_cosine(t)))  # noqa: E731
            result[f"{name} {turn}"] = [lag, _told(lambda c=control, a=at: follow(c, a))]
    return result


def jump(robot):
    """Steps that a robot refuses, one after the other, each followed by recovery; what the client was told."""
    q, pose = np.array(robot.read_once().q_d), np.array(robot.read_once().O_T_EE_c)
    tilted = pose.copy()
    tilted[12] += 0.02
    start_q, start_dq = robot.start_joint_position_control, robot.start_joint_velocity_control
    start_x, start_dx = robot.start_cartesian_pose_control, robot.start_cartesian_velocity_control
    tries = {
        "joint start": (start_q, lf.JointPositions(list(q + 0.2))),
        "joint velocity": (start_dq, lf.JointVelocities([3.0] * 7)),
        "joint acceleration": (start_dq, lf.JointVelocities([0.1] * 7)),
        "joint jerk": (start_dq, lf.JointVelocities([0.007] * 7)),
        "pose start": (start_x, lf.CartesianPose(list(tilted))),
        "twist": (start_dx, lf.CartesianVelocities([3.5] + [0.0] * 5)),
        "twist acceleration": (start_dx, lf.CartesianVelocities([0.05] + [0.0] * 5)),
        "twist jerk": (start_dx, lf.CartesianVelocities([0.007] + [0.0] * 5)),
        "torque": (lambda mode: robot.start_torque_control(), lf.Torques([3.0] * 7)),
    }
    result = {}
    for name, (start, command) in tries.items():
        result[name] = _told(lambda start=start, command=command: follow(start(JOINT), lambda t: command))
        result[f"{name}, mode"] = robot.read_once().robot_mode.name
        robot.automatic_error_recovery()
    result["mode"] = robot.read_once().robot_mode.name
    return result


def preempted(robot):
    """A stop in the middle of a motion."""
    control, still = robot.start_joint_position_control(JOINT), None
    for _ in range(50):
        state, _ = control.readOnce()
        still = still or list(state.q_d)
        control.writeOnce(lf.JointPositions(still))
    robot.stop()
    error = _told(lambda: follow(control, lambda t: lf.JointPositions(still)))
    return {"error": error, "mode": robot.read_once().robot_mode.name}


def settings(robot):
    """What the state says after every setter, and how nonsense is refused."""
    tool = np.eye(4)
    tool[:3, 3] = 0.0, 0.0, 0.1
    before = robot.read_once()
    robot.set_EE(list(tool.ravel(order="F")))
    robot.set_K(list(tool.ravel(order="F")))
    robot.set_load(0.7, [0.0, 0.0, 0.1], list(1e-3 * np.eye(3).ravel()))
    robot.set_joint_impedance([1000.0] * 7)
    robot.set_cartesian_impedance([500.0] * 3 + [30.0] * 3)
    robot.set_collision_behavior([20.0] * 7, [20.0] * 7, [20.0] * 6, [20.0] * 6)
    time.sleep(0.05)
    after = robot.read_once()
    refused = {
        "set_EE": _told(lambda: robot.set_EE([2.0] * 16)),
        "set_load": _told(lambda: robot.set_load(-1.0, [0.0] * 3, [0.0] * 9)),
        "set_joint_impedance": _told(lambda: robot.set_joint_impedance([1e6] * 7)),
        "set_cartesian_impedance": _told(lambda: robot.set_cartesian_impedance([1.0] * 6)),
    }
    return {
        "O_T_EE": [list(before.O_T_EE), list(after.O_T_EE)],
        "F_T_EE": [list(before.F_T_EE), list(after.F_T_EE)],
        "EE_T_K": list(after.EE_T_K),
        "m_load": after.m_load,
        "m_total": after.m_total,
        "tau_J": [list(before.tau_J), list(after.tau_J)],
        "refused": refused,
    }


def errors(robot):
    """For each line on standard input: which error flags are set; then recovery. Ends with the input."""
    for _ in sys.stdin:
        time.sleep(0.01)
        robot.read_once()  # what had piled up in the socket
        state = robot.read_once()
        current, last = str(state.current_errors), str(state.last_motion_errors)
        robot.automatic_error_recovery()
        print(json.dumps({"current": current, "last": last, "mode": state.robot_mode.name}), flush=True)
    return {}


def hold(robot):
    """Hold still until something ends the motion; says when it has begun."""
    control = robot.start_joint_position_control(JOINT)
    still = list(control.readOnce()[0].q_d)
    control.writeOnce(lf.JointPositions(still))
    print("holding", flush=True)
    return {"error": _told(lambda: follow(control, lambda t: lf.JointPositions(still), 60.0))}


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


def _told(call):
    try:
        call()
    except (RuntimeError, lf.FrankaException) as error:
        return str(error)
    return ""


CASES = {f.__name__: f for f in (read, motions, asynchronous, measured, jump, preempted, settings, errors, hold)}

if __name__ == "__main__":
    address, case = sys.argv[1:3]
    print(json.dumps(gripper(address) if case == "gripper" else CASES[case](connect(address))))
