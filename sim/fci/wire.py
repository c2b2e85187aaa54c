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
    """Index into the error flags of the robot state."""

    JOINT_POSITION_LIMITS = 0
    JOINT_VELOCITY = 3
    JOINT_REFLEX = 6
    CARTESIAN_REFLEX = 7
    GENERATOR_POSITION_LIMITS = 12
    GENERATOR_VELOCITY_LIMITS = 13
    GENERATOR_VELOCITY_DISCONTINUITY = 14
    GENERATOR_ACCELERATION_DISCONTINUITY = 15
    CARTESIAN_VELOCITY_LIMITS = 18
    CARTESIAN_VELOCITY_DISCONTINUITY = 19
    COMMUNICATION = 25
    CARTESIAN_JOINT_POSITION_LIMITS = 27
    CARTESIAN_JOINT_VELOCITY_LIMITS = 28
    CARTESIAN_JOINT_VELOCITY_DISCONTINUITY = 29
    TORQUE_DISCONTINUITY = 32
    TORQUE_RANGE = 34


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
MOVE_REQUEST = struct.Struct("<II")
"""Controller, generator; deviations and (version 10) options follow and are not used."""
COLLISION_REQUEST = struct.Struct("<52d")
"""Torque thresholds 4 x 7 (lower and upper, accelerating and nominal), force thresholds 4 x 6."""
LOAD_REQUEST = struct.Struct("<13d")
"""Mass, centre of mass, inertia."""
FRAME_REQUEST = struct.Struct("<16d")
"""A transform."""

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
    """Values of a Move reply; every other request answers 0 for success."""

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


_SETTERS = ("SetCollisionBehavior", "SetJointImpedance", "SetCartesianImpedance", "SetGuidingMode")
_FRAMES = ("SetEEToK", "SetNEToEE", "SetLoad")

PROTOCOLS = {
    5: Protocol(
        version=5,
        state=_state_dtype("<f8", with_accelerometers=False),
        command=_command_dtype(with_torque_finished=False),
        requests=("Connect", "Move", "StopMove", "GetCartesianLimit", *_SETTERS, *_FRAMES)
        + ("SetFilters", "AutomaticErrorRecovery", "LoadModelLibrary"),
        move_status={"success": 0, "started": 1, "preempted": 2, "not_possible": 3, "reflex": 6, "user_stop": 7},
    ),
    10: Protocol(
        version=10,
        state=_state_dtype("<f4", with_accelerometers=True),
        command=_command_dtype(with_torque_finished=True),
        requests=("Connect", "Move", "StopMove", *_SETTERS, *_FRAMES) + ("AutomaticErrorRecovery", "GetRobotModel"),
        move_status={"success": 0, "started": 1, "preempted": 2, "not_possible": 5, "reflex": 8, "user_stop": 9},
    ),
}
"""Known robot-server versions."""
