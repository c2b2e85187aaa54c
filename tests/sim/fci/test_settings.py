"""Requests from payload to reply: what they change, and what a robot would not accept."""

import struct

import numpy as np
import pytest

from sim.fci import settings, wire
from sim.fci.kinematic_arm import KinematicArm
from sim.fci.robot import Robot
from sim.fci.wire import PROTOCOLS, Controller, Generator, Reply, RobotMode

EYE = np.eye(4).ravel()


@pytest.fixture
def robot():
    return Robot(KinematicArm(), PROTOCOLS[5])


def reply(robot, name, layout, *values):
    answer = settings.apply(robot, name, layout.pack(*values))
    assert len(answer) == 1
    return Reply(answer[0])


def test_thresholds_are_sorted_into_contact_and_collision_of_both_phases(robot):
    values = [*[1.0] * 7, *[2.0] * 7, *[3.0] * 7, *[4.0] * 7, *[5.0] * 6, *[6.0] * 6, *[7.0] * 6, *[8.0] * 6]
    assert reply(robot, "SetCollisionBehavior", wire.COLLISION_REQUEST, *values) is Reply.SUCCESS
    for thresholds, expected in ((robot.contacts.accelerating, (1, 2, 5, 6)), (robot.contacts.nominal, (3, 4, 7, 8))):
        got = (thresholds.contact_nm, thresholds.collision_nm, thresholds.contact, thresholds.collision)
        assert tuple(float(values[0]) for values in got) == expected


def test_stiffness_is_set_within_its_range_only(robot):
    joint, cartesian = wire.JOINT_IMPEDANCE_REQUEST, wire.CARTESIAN_IMPEDANCE_REQUEST
    assert reply(robot, "SetJointImpedance", joint, *[500.0] * 7) is Reply.SUCCESS
    assert robot.laws.joint.stiffness.tolist() == [500.0] * 7
    assert reply(robot, "SetJointImpedance", joint, *[14251.0] * 7) is Reply.INVALID_ARGUMENT
    assert reply(robot, "SetCartesianImpedance", cartesian, *[200.0] * 3, *[20.0] * 3) is Reply.SUCCESS
    assert robot.laws.cartesian.stiffness.tolist() == [200.0] * 3 + [20.0] * 3
    assert reply(robot, "SetCartesianImpedance", cartesian, *[9.0] * 6) is Reply.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("name", "layout", "values"),
    [
        ("SetCollisionBehavior", wire.COLLISION_REQUEST, [-1.0] + [1.0] * 51),
        ("SetNEToEE", wire.FRAME_REQUEST, [2.0, *EYE[1:]]),
        ("SetEEToK", wire.FRAME_REQUEST, [float("nan"), *EYE[1:]]),
        ("SetLoad", wire.LOAD_REQUEST, [-0.1, *[0.0] * 12]),
        ("SetLoad", wire.LOAD_REQUEST, [1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0]),
        ("SetLoad", wire.LOAD_REQUEST, [1.0, 0, 0, 0, 1.0, 0.5, 0, 0, 1.0, 0, 0, 0, 1.0]),
        ("SetLoad", wire.LOAD_REQUEST, [1e300, *[0.0] * 12]),
        ("SetLoad", wire.LOAD_REQUEST, [1.0, 5.0, *[0.0] * 11]),
        ("SetLoad", wire.LOAD_REQUEST, [1.0, 0, 0, 0, 1e9, 0, 0, 0, 1e9, 0, 0, 0, 1e9]),
        ("SetNEToEE", wire.FRAME_REQUEST, [*EYE[:12], 1e300, *EYE[13:]]),
        ("SetEEToK", wire.FRAME_REQUEST, [*EYE[:12], 3.0, *EYE[13:]]),
        ("SetFilters", wire.FILTERS_REQUEST, [0.5] * 5),
    ],
)
def test_impossible_values_are_invalid_arguments(robot, name, layout, values):
    assert reply(robot, name, layout, *values) is Reply.INVALID_ARGUMENT


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", sorted(set(settings._LAYOUTS) - {"SetGuidingMode"}))
def test_what_is_no_number_is_an_invalid_argument_wherever_it_stands(robot, name, bad):
    layout = settings._LAYOUTS[name]
    count = layout.size // 8
    good = EYE if count == 16 else np.full(count, 100.0)
    for at in range(count):
        values = good.copy()
        values[at] = bad
        assert reply(robot, name, layout, *values) is Reply.INVALID_ARGUMENT


def test_nothing_is_changed_while_the_robot_moves(robot):
    robot.mode = RobotMode.MOVE
    assert reply(robot, "SetLoad", wire.LOAD_REQUEST, 1.0, *[0.0] * 12) is Reply.NOT_POSSIBLE


def test_filters_and_guided_axes_are_kept(robot):
    assert reply(robot, "SetFilters", wire.FILTERS_REQUEST, 100.0, 1000.0, 1000.0, 1000.0, 10.0) is Reply.SUCCESS
    assert 0.0 < robot.filters.torque < robot.filters.joint_position < 1.0 == robot.filters.joint_velocity
    assert reply(robot, "SetGuidingMode", wire.GUIDING_REQUEST, *[True] * 3, *[False] * 4) is Reply.SUCCESS
    assert robot.free_in_guiding.tolist() == [True] * 3 + [False] * 4


def test_there_are_no_virtual_walls(robot):
    answer = settings.apply(robot, "GetCartesianLimit", wire.WALL_REQUEST.pack(3))
    status, *numbers, active = wire.WALL_REPLY.unpack(answer)
    assert (status, active) == (Reply.SUCCESS, False) and numbers[3:] == EYE.tolist()


def test_move_requests_are_read_as_clients_pack_them():
    plain = settings.move_request(struct.pack("<II6d", 2, 1, *range(6)))
    assert (plain.controller, plain.generator) == (Controller.EXTERNAL, Generator.JOINT_VELOCITY)
    assert plain.max_path_deviation == (0, 1, 2) and plain.async_velocity_rad_s is None
    options = struct.pack("<?7d", True, *[0.5] * 7)
    target = settings.move_request(struct.pack("<II6d", 0, 0, *[0.0] * 6) + options)
    assert target.async_velocity_rad_s.tolist() == [0.5] * 7
    torque = settings.move_request(struct.pack("<II6d", 2, 4, *[0.0] * 6) + struct.pack("<?7d", False, *[0.0] * 7))
    assert torque.generator is Generator.NONE


@pytest.mark.parametrize("payload", [b"", struct.pack("<II", 0, 0), struct.pack("<II6d", 2, 4, *[0.0] * 6) + b"x"])
def test_truncated_requests_are_an_error(payload):
    with pytest.raises(struct.error):
        settings.move_request(payload)


@pytest.mark.parametrize(("controller", "generator"), [(3, 0), (2, 4), (0, 9)])
def test_modes_that_a_panda_does_not_know_are_an_error(controller, generator):
    with pytest.raises(ValueError, match=f"{controller}|{generator + 1}"):
        settings.move_request(struct.pack("<II6d", controller, generator, *[0.0] * 6))
