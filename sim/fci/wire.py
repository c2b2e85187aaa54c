"""Layouts of the Franka Control Interface, by robot-server version: 5 (Panda) and 10 (FR3, system >= 5.9).

Little-endian and packed. Nothing here opens a socket; matrices are column-major, (4, 4) as 16 numbers.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROBOT_PORT = 1337
GRIPPER_PORT = 1338
GRIPPER_VERSION = 3


class RobotMode(IntEnum):
    """What the robot says it is doing."""

    OTHER = 0
    IDLE = 1
    MOVE = 2
    GUIDING = 3
    REFLEX = 4
    USER_STOPPED = 5
    RECOVERY = 6


class Generator(IntEnum):
    """Motion generator as the robot state reports it; a Move request carries this value minus one."""

    IDLE = 0
    JOINT_POSITION = 1
    JOINT_VELOCITY = 2
    CARTESIAN_POSITION = 3
    CARTESIAN_VELOCITY = 4
    NONE = 5
    """Version 10 only: torques without a generator."""


class Controller(IntEnum):
    """Controller as both the robot state and a Move request carry it."""

    JOINT_IMPEDANCE = 0
    CARTESIAN_IMPEDANCE = 1
    EXTERNAL = 2
    OTHER = 3


class Error(IntEnum):
    """Index into the error flags of the robot state; the names, in lower case, are those that libfranka prints."""

    JOINT_POSITION_LIMITS_VIOLATION = 0
    CARTESIAN_POSITION_LIMITS_VIOLATION = 1
    SELF_COLLISION_AVOIDANCE_VIOLATION = 2
    JOINT_VELOCITY_VIOLATION = 3
    CARTESIAN_VELOCITY_VIOLATION = 4
    FORCE_CONTROL_SAFETY_VIOLATION = 5
    JOINT_REFLEX = 6
    CARTESIAN_REFLEX = 7
    MAX_GOAL_POSE_DEVIATION_VIOLATION = 8
    MAX_PATH_POSE_DEVIATION_VIOLATION = 9
    CARTESIAN_VELOCITY_PROFILE_SAFETY_VIOLATION = 10
    JOINT_POSITION_MOTION_GENERATOR_START_POSE_INVALID = 11
    JOINT_MOTION_GENERATOR_POSITION_LIMITS_VIOLATION = 12
    JOINT_MOTION_GENERATOR_VELOCITY_LIMITS_VIOLATION = 13
    JOINT_MOTION_GENERATOR_VELOCITY_DISCONTINUITY = 14
    JOINT_MOTION_GENERATOR_ACCELERATION_DISCONTINUITY = 15
    CARTESIAN_POSITION_MOTION_GENERATOR_START_POSE_INVALID = 16
    CARTESIAN_MOTION_GENERATOR_ELBOW_LIMIT_VIOLATION = 17
    CARTESIAN_MOTION_GENERATOR_VELOCITY_LIMITS_VIOLATION = 18
    CARTESIAN_MOTION_GENERATOR_VELOCITY_DISCONTINUITY = 19
    CARTESIAN_MOTION_GENERATOR_ACCELERATION_DISCONTINUITY = 20
    CARTESIAN_MOTION_GENERATOR_ELBOW_SIGN_INCONSISTENT = 21
    CARTESIAN_MOTION_GENERATOR_START_ELBOW_INVALID = 22
    FORCE_CONTROLLER_DESIRED_FORCE_TOLERANCE_VIOLATION = 23
    START_ELBOW_SIGN_INCONSISTENT = 24
    COMMUNICATION_CONSTRAINTS_VIOLATION = 25
    POWER_LIMIT_VIOLATION = 26
    CARTESIAN_MOTION_GENERATOR_JOINT_POSITION_LIMITS_VIOLATION = 27
    CARTESIAN_MOTION_GENERATOR_JOINT_VELOCITY_LIMITS_VIOLATION = 28
    CARTESIAN_MOTION_GENERATOR_JOINT_VELOCITY_DISCONTINUITY = 29
    CARTESIAN_MOTION_GENERATOR_JOINT_ACCELERATION_DISCONTINUITY = 30
    CARTESIAN_POSITION_MOTION_GENERATOR_INVALID_FRAME_FLAG = 31
    CONTROLLER_TORQUE_DISCONTINUITY = 32
    JOINT_P2P_INSUFFICIENT_TORQUE_FOR_PLANNING = 33
    TAU_J_RANGE_VIOLATION = 34
    INSTABILITY_DETECTED = 35
    JOINT_MOVE_IN_WRONG_DIRECTION = 36
    CARTESIAN_SPLINE_MOTION_GENERATOR_VIOLATION = 37
    JOINT_VIA_MOTION_GENERATOR_PLANNING_JOINT_LIMIT_VIOLATION = 38
    BASE_ACCELERATION_INITIALIZATION_TIMEOUT = 39
    BASE_ACCELERATION_INVALID_READING = 40


class Reply(IntEnum):
    """Status of a reply to a request that sets or asks something."""

    SUCCESS = 0
    NOT_POSSIBLE = 1
    INVALID_ARGUMENT = 2


class GripperCommand(IntEnum):
    """Requests of the gripper server."""

    CONNECT = 0
    HOMING = 1
    GRASP = 2
    MOVE = 3
    STOP = 4


class GripperStatus(IntEnum):
    """Answers of the gripper server."""

    SUCCESS = 0
    FAIL = 1
    UNSUCCESSFUL = 2
    ABORTED = 3


HEADER = struct.Struct("<III")
"""Robot requests and replies: command, command id, total size."""
CONNECT_REQUEST = struct.Struct("<HH")
"""Wanted version, the client's UDP port."""
CONNECT_REPLY = struct.Struct("<BH")
"""Status, the server's version."""
MOVE_REQUEST = struct.Struct("<II6d")
"""Controller, generator, largest deviation (m, rad, rad of the elbow) from the path, and from the goal."""
MOVE_OPTIONS = struct.Struct("<?7d")
"""Follows in version 10: whether set-points come at any rate, and then the joint velocities to go there with."""
COLLISION_REQUEST = struct.Struct("<52d")
"""Torque thresholds 4 x 7 (lower and upper, accelerating and nominal), force thresholds 4 x 6."""
LOAD_REQUEST = struct.Struct("<13d")
"""Mass, centre of mass, inertia."""
FRAME_REQUEST = struct.Struct("<16d")
"""A transform."""
JOINT_IMPEDANCE_REQUEST = struct.Struct("<7d")
CARTESIAN_IMPEDANCE_REQUEST = struct.Struct("<6d")
GUIDING_REQUEST = struct.Struct("<7?")
"""Which of x, y, z, R, P, Y, elbow a hand may move."""
FILTERS_REQUEST = struct.Struct("<5d")
"""Cut-off frequencies, Hz: joint position and velocity, Cartesian position and velocity, torque."""
WALL_REQUEST = struct.Struct("<i")
WALL_REPLY = struct.Struct("<B3d16d?")
"""Status, size of a virtual wall, its pose, whether it is active."""
LIBRARY_REQUEST = struct.Struct("<BB")
"""Processor (0 x64, 1 x86, 2 ARM, 3 ARM64) and system (0 Linux, 1 Windows) of the client."""

GRIPPER_HEADER = struct.Struct("<HII")
GRIPPER_CONNECT_REPLY = struct.Struct("<HH")
GRIPPER_REPLY = struct.Struct("<H")
GRIPPER_MOVE_REQUEST = struct.Struct("<2d")
"""Width, speed."""
GRIPPER_GRASP_REQUEST = struct.Struct("<5d")
"""Width, inner and outer tolerance, speed, force."""
GRIPPER_STATE = struct.Struct("<IddBH")
"""Message id, width, largest width, grasped, temperature."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """All that differs between two robot-server versions."""

    version: int
    state: np.dtype
    """RobotState, sent by UDP every millisecond."""
    command: np.dtype
    """RobotCommand, received by UDP in answer."""
    requests: tuple[str, ...]
    """Names of the TCP requests; the index is the number on the wire."""
    move_status: dict[str, int]
    """Values of a Move reply."""
    recovery_status: dict[str, int]
    """Values of the reply to AutomaticErrorRecovery; every other request answers a Reply."""

    def request_name(self, number: int) -> str | None:
        """Name of a request, or None for a number that this version does not know."""
        return self.requests[number] if 0 <= number < len(self.requests) else None


def field_views(buffer: bytearray, layout: np.dtype) -> dict[str, NDArray[Any]]:
    """A live view of every field of one packet; scalars as arrays of one element."""
    record = np.frombuffer(buffer, layout)
    views = {name: record[name] for name in layout.names or ()}
    return {name: view[0] if view.ndim > 1 else view for name, view in views.items()}


def _state_dtype(real: str, with_accelerometers: bool) -> np.dtype:
    fields: list[tuple[Any, ...]] = [("message_id", "<u8")]
    fields += [(k, real, (16,)) for k in ("O_T_EE", "O_T_EE_d", "F_T_EE", "EE_T_K", "F_T_NE", "NE_T_EE")]
    for part, com in (("ee", "F_x_Cee"), ("load", "F_x_Cload")):
        fields += [(f"m_{part}", real), (f"I_{part}", real, (9,)), (com, real, (3,))]
    fields += [("elbow", real, (2,)), ("elbow_d", real, (2,))]
    joints = ("tau_J", "tau_J_d", "dtau_J", "q", "q_d", "dq", "dq_d", "ddq_d", "joint_contact")
    fields += [(k, real, (7,)) for k in joints]
    fields += [("cartesian_contact", real, (6,)), ("joint_collision", real, (7,))]
    fields += [("cartesian_collision", real, (6,)), ("tau_ext_hat_filtered", real, (7,))]
    fields += [(k, real, (6,)) for k in ("O_F_ext_hat_K", "K_F_ext_hat_K", "O_dP_EE_d")]
    fields += [("O_ddP_O", real, (3,))]
    fields += [(k, real, (2,)) for k in ("elbow_c", "delbow_c", "ddelbow_c")]
    fields += [("O_T_EE_c", real, (16,)), ("O_dP_EE_c", real, (6,)), ("O_ddP_EE_c", real, (6,))]
    fields += [("theta", real, (7,)), ("dtheta", real, (7,))]
    if with_accelerometers:
        fields += [("accelerometer_top", real, (6, 3)), ("accelerometer_bottom", real, (6, 3))]
    fields += [("motion_generator_mode", "u1"), ("controller_mode", "u1")]
    fields += [("errors", "?", (41,)), ("reflex_reason", "?", (41,))]
    fields += [("robot_mode", "u1"), ("control_command_success_rate", real)]
    return np.dtype(fields)


def _command_dtype(with_torque_finished: bool) -> np.dtype:
    fields: list[tuple[Any, ...]] = [("message_id", "<u8"), ("q_c", "<f8", (7,)), ("dq_c", "<f8", (7,))]
    fields += [("O_T_EE_c", "<f8", (16,)), ("O_dP_EE_c", "<f8", (6,)), ("elbow_c", "<f8", (2,))]
    fields += [("valid_elbow", "?"), ("motion_finished", "?"), ("tau_J_d", "<f8", (7,))]
    return np.dtype(fields + ([("torque_finished", "?")] if with_torque_finished else []))


def _numbered(names: tuple[str, ...]) -> dict[str, int]:
    return {name: number for number, name in enumerate(names)}


_SETTERS = ("SetCollisionBehavior", "SetJointImpedance", "SetCartesianImpedance", "SetGuidingMode")
_FRAMES = ("SetEEToK", "SetNEToEE", "SetLoad")

_MOVE_ENDS = ("reflex", "user_stop", "input_error", "aborted")
_MOVE_REFUSALS = ("not_possible", "singular", "invalid")

PROTOCOLS = {
    5: Protocol(
        version=5,
        state=_state_dtype("<f8", with_accelerometers=False),
        command=_command_dtype(with_torque_finished=False),
        requests=("Connect", "Move", "StopMove", "GetCartesianLimit", *_SETTERS, *_FRAMES)
        + ("SetFilters", "AutomaticErrorRecovery", "LoadModelLibrary"),
        move_status=_numbered(("success", "started", "preempted", *_MOVE_REFUSALS, *_MOVE_ENDS)),
        recovery_status=_numbered(("success", "not_possible", "manual", "reflex", "user_stop", "aborted")),
    ),
    10: Protocol(
        version=10,
        state=_state_dtype("<f4", with_accelerometers=True),
        command=_command_dtype(with_torque_finished=True),
        requests=("Connect", "Move", "StopMove", *_SETTERS, *_FRAMES) + ("AutomaticErrorRecovery", "GetRobotModel"),
        move_status=_numbered(
            ("success", "started", "preempted", "safety_preempted", "safety_refused", *_MOVE_REFUSALS, *_MOVE_ENDS)
        ),
        recovery_status=_numbered(
            ("success", "not_possible", "safety_refused", "manual", "reflex", "user_stop", "aborted")
        ),
    ),
}
"""Known robot-server versions."""
