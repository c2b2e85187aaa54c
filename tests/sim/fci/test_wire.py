"""Layouts of the wire: exact sizes, golden places, round trips."""

import struct

import numpy as np
import pytest

from sim.fci import wire
from sim.fci.wire import PROTOCOLS, Controller, Generator, field_views


@pytest.mark.parametrize(("version", "state_bytes", "command_bytes"), [(5, 2373, 370), (10, 1377, 371)])
def test_packets_have_the_published_sizes(version, state_bytes, command_bytes):
    protocol = PROTOCOLS[version]
    assert (protocol.state.itemsize, protocol.command.itemsize) == (state_bytes, command_bytes)


def test_headers_and_gripper_packets_have_the_published_sizes():
    assert wire.HEADER.size == 12 and wire.GRIPPER_HEADER.size == 10
    assert wire.GRIPPER_STATE.size == 23 and wire.COLLISION_REQUEST.size == 416


@pytest.mark.parametrize("version", [5, 10])
def test_state_fields_lie_where_clients_look_for_them(version):
    layout, real = PROTOCOLS[version].state, {5: 8, 10: 4}[version]
    offset = {name: layout.fields[name][1] for name in layout.names}
    assert offset["message_id"] == 0 and offset["O_T_EE"] == 8
    assert offset["m_ee"] == 8 + 6 * 16 * real
    assert offset["q"] == 8 + (6 * 16 + 2 * 13 + 2 * 2 + 3 * 7) * real
    assert offset["robot_mode"] == layout.itemsize - real - 1
    assert offset["errors"] == offset["robot_mode"] - 82


def test_command_is_read_as_the_client_packs_it():
    layout = "<Q7d7d16d6d2d??7d?"
    tau = [1.0, -2.0, 3.0, -4.0, 5.0, -6.0, 7.0]
    packet = struct.pack(layout, 77, *[0.0] * 38, False, True, *tau, True)
    buffer = bytearray(packet)
    views = field_views(buffer, PROTOCOLS[10].command)
    assert views["message_id"] == [77] and views["motion_finished"] and views["torque_finished"]
    assert views["tau_J_d"].tolist() == tau and not views["valid_elbow"]


def test_views_follow_the_buffer_without_copies():
    protocol = PROTOCOLS[10]
    buffer = bytearray(protocol.state.itemsize)
    views = field_views(buffer, protocol.state)
    views["q"][:] = np.arange(7)
    views["message_id"][0] = 5
    assert np.frombuffer(buffer, protocol.state)[0]["q"].tolist() == list(range(7))
    assert struct.unpack_from("<Q", buffer) == (5,)


def test_truncated_packet_is_an_error():
    with pytest.raises(ValueError, match="buffer"):
        field_views(bytearray(1376), PROTOCOLS[10].state)


def test_versions_number_their_requests_differently():
    assert PROTOCOLS[5].request_name(12) == "AutomaticErrorRecovery"
    assert PROTOCOLS[10].request_name(10) == "AutomaticErrorRecovery"
    assert PROTOCOLS[10].request_name(11) == "GetRobotModel"
    assert PROTOCOLS[10].request_name(12) is None


def test_modes_have_their_published_values():
    assert [int(g) for g in Generator] == [0, 1, 2, 3, 4, 5]
    assert (Controller.EXTERNAL, Controller.OTHER) == (2, 3)
    assert (PROTOCOLS[5].move_status["reflex"], PROTOCOLS[10].move_status["reflex"]) == (6, 8)
