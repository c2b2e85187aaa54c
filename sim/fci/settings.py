"""Requests that set or ask something, from payload to reply."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.fci import wire
from sim.fci.contact import Thresholds
from sim.fci.filters import HIGHEST_HZ, LOWEST_HZ, Filters, gain
from sim.fci.generators import check_frame
from sim.fci.motion import MoveRequest
from sim.fci.reference import ReflexError
from sim.fci.robot import Robot
from sim.fci.wire import Controller, Generator, Reply, RobotMode

Vector = NDArray[np.float64]

JOINT_STIFFNESS_MAX_NM_RAD = 14250.0
CARTESIAN_STIFFNESS_MIN = np.array([10.0, 10.0, 10.0, 1.0, 1.0, 1.0])
CARTESIAN_STIFFNESS_MAX = np.array([3000.0, 3000.0, 3000.0, 300.0, 300.0, 300.0])
"""N/m and Nm/rad."""
LOAD_MAX_KG, LOAD_OFFSET_MAX_M, LOAD_INERTIA_MAX_KG_M2 = 10.0, 1.0, 10.0
FRAME_OFFSET_MAX_M = 2.0
"""Three times what the robots are rated for, and farther than they reach: beyond that it is a mistake."""


def move_request(payload: bytes) -> MoveRequest:
    """What a Move request asks for. Raises ValueError or struct.error for what no client of any version sends."""
    controller, generator, *deviations = wire.MOVE_REQUEST.unpack_from(payload)
    options = payload[wire.MOVE_REQUEST.size :]
    asynchronous, *velocity = wire.MOVE_OPTIONS.unpack(options) if options else (False,)
    if controller == Controller.OTHER or (generator + 1 == Generator.NONE and not options):
        raise ValueError(f"no client of this version asks for controller {controller} with generator {generator}")
    return MoveRequest(
        controller=Controller(controller),
        generator=Generator(generator + 1),  # the state counts from idle
        max_path_deviation=tuple(deviations[:3]),
        max_goal_deviation=tuple(deviations[3:]),
        async_velocity_rad_s=np.array(velocity) if asynchronous else None,
    )


def apply(robot: Robot, name: str, payload: bytes) -> bytes:
    """Do what a request asks for and return the reply's payload. Raises struct.error when it has another size."""
    if name == "GetCartesianLimit":
        wire.WALL_REQUEST.unpack(payload)
        return wire.WALL_REPLY.pack(Reply.SUCCESS, *(0.0,) * 3, *np.eye(4).ravel(), False)
    setter = _SETTERS[name]
    layout = _LAYOUTS[name]
    values = np.array(layout.unpack(payload))
    if robot.mode is RobotMode.MOVE:
        return bytes((Reply.NOT_POSSIBLE,))
    if not np.isfinite(values).all():
        return bytes((Reply.INVALID_ARGUMENT,))
    return bytes((setter(robot, values),))


def _collision_behavior(robot: Robot, values: Vector) -> Reply:
    if not (values >= 0.0).all():
        return Reply.INVALID_ARGUMENT
    torque, force = values[:28].reshape(4, 7), values[28:].reshape(4, 6)
    for at, phase in enumerate(("accelerating", "nominal")):
        thresholds = Thresholds(*(block[2 * at + upper] for block in (torque, force) for upper in (0, 1)))
        setattr(robot.contacts, phase, thresholds)
    return Reply.SUCCESS


def _joint_impedance(robot: Robot, values: Vector) -> Reply:
    if not ((values >= 0.0) & (values <= JOINT_STIFFNESS_MAX_NM_RAD)).all():
        return Reply.INVALID_ARGUMENT
    robot.laws.joint.set_stiffness(values)
    return Reply.SUCCESS


def _cartesian_impedance(robot: Robot, values: Vector) -> Reply:
    if not ((values >= CARTESIAN_STIFFNESS_MIN) & (values <= CARTESIAN_STIFFNESS_MAX)).all():
        return Reply.INVALID_ARGUMENT
    robot.laws.cartesian.set_stiffness(values)
    return Reply.SUCCESS


def _guiding_mode(robot: Robot, values: Vector) -> Reply:
    robot.free_in_guiding = values.astype(bool)
    return Reply.SUCCESS


def _stiffness_frame(robot: Robot, values: Vector) -> Reply:
    transform = _transform(values)
    if transform is None:
        return Reply.INVALID_ARGUMENT
    robot.set_stiffness_frame(transform)
    return Reply.SUCCESS


def _tool(robot: Robot, values: Vector) -> Reply:
    transform = _transform(values)
    if transform is None:
        return Reply.INVALID_ARGUMENT
    robot.set_tool(transform)
    return Reply.SUCCESS


def _load(robot: Robot, values: Vector) -> Reply:
    mass, offset, inertia = values[0], values[1:4], values[4:].reshape(3, 3)
    most = (mass <= LOAD_MAX_KG, np.abs(offset) <= LOAD_OFFSET_MAX_M, np.abs(inertia) <= LOAD_INERTIA_MAX_KG_M2)
    if not (mass >= 0.0 and all(np.all(part) for part in most) and np.allclose(inertia, inertia.T)):
        return Reply.INVALID_ARGUMENT
    if (np.linalg.eigvalsh(inertia) < -1e-9).any():
        return Reply.INVALID_ARGUMENT
    robot.set_load(float(mass), offset, values[4:])
    return Reply.SUCCESS


def _filters(robot: Robot, values: Vector) -> Reply:
    if not ((values >= LOWEST_HZ) & (values <= HIGHEST_HZ)).all():
        return Reply.INVALID_ARGUMENT
    robot.filters = Filters(*(gain(value) for value in values.tolist()))
    return Reply.SUCCESS


def _transform(values: Vector) -> Vector | None:
    transform: Vector = values.reshape(4, 4).T
    if not (np.abs(transform[:3, 3]) <= FRAME_OFFSET_MAX_M).all():
        return None
    try:
        check_frame(transform)
    except ReflexError:
        return None
    return transform


_SETTERS = {
    "SetCollisionBehavior": _collision_behavior,
    "SetJointImpedance": _joint_impedance,
    "SetCartesianImpedance": _cartesian_impedance,
    "SetGuidingMode": _guiding_mode,
    "SetEEToK": _stiffness_frame,
    "SetNEToEE": _tool,
    "SetLoad": _load,
    "SetFilters": _filters,
}
_LAYOUTS = {
    "SetCollisionBehavior": wire.COLLISION_REQUEST,
    "SetJointImpedance": wire.JOINT_IMPEDANCE_REQUEST,
    "SetCartesianImpedance": wire.CARTESIAN_IMPEDANCE_REQUEST,
    "SetGuidingMode": wire.GUIDING_REQUEST,
    "SetEEToK": wire.FRAME_REQUEST,
    "SetNEToEE": wire.FRAME_REQUEST,
    "SetLoad": wire.LOAD_REQUEST,
    "SetFilters": wire.FILTERS_REQUEST,
}
