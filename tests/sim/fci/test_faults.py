"""What each fault does to the way of states and commands, to the robot and to the hand."""

import struct

import numpy as np
import pytest

from d2ppo_core.errors import WorldError
from sim.fci.faults import AT_ONCE, FAULTS, FaultInjector, Wire
from sim.fci.kinematic_arm import KinematicArm
from sim.fci.robot import Robot
from sim.fci.wire import PROTOCOLS, Error, RobotMode


def packet(message_id, size=16):
    return bytearray(struct.pack("<Q", message_id).ljust(size, b"\1"))


def delivered(wire, packets):
    """Message ids that reach the robot, one cycle per packet; None where nothing does."""
    got = []
    for cycle, message_id in enumerate(packets):
        command = packet(message_id or 0)
        here = wire.deliver(cycle, command, message_id is not None)
        got.append(struct.unpack_from("<Q", command)[0] if here else None)
    return got


class Rig:
    def __init__(self):
        self.arm = KinematicArm()
        self.robot = Robot(self.arm, PROTOCOLS[10])
        self.wire, self.jumps, self.cuts = Wire(), [], []
        self.faults = FaultInjector(self.robot, self.wire, self.arm.fingers, self.jumps.append, self.cuts.append)

    def run(self, seconds):
        for _ in range(round(1e3 * seconds)):
            self.faults.tick()
            self.arm.step(np.zeros(7))
        self.faults.tick()


@pytest.fixture
def rig():
    return Rig()


def test_without_faults_everything_passes():
    wire = Wire()
    assert delivered(wire, [1, 2, None, 4]) == [1, 2, None, 4]
    state = packet(7)
    assert wire.outgoing(state) is state


def test_lost_commands_and_states_vanish_by_their_share():
    wire = Wire()
    wire.lost_commands = wire.lost_states = 1.0
    assert delivered(wire, [1, 2]) == [None, None]
    assert wire.outgoing(packet(1)) is None
    wire.lost_commands = wire.lost_states = 0.3
    commands = sum(got is not None for got in delivered(wire, range(10, 1010)))
    states = sum(wire.outgoing(packet(i)) is not None for i in range(1000))
    assert 640 < commands < 760 and 640 < states < 760


def test_late_commands_arrive_in_order_after_their_time():
    wire = Wire()
    wire.late_cycles = 3
    assert delivered(wire, [1, 2, 3, 4, 5, 6]) == [None, None, None, 1, 2, 3]
    wire.late_cycles = 0
    assert delivered(wire, [None] * 4)[-1] is None


def test_of_reordered_commands_the_robot_sees_every_second():
    wire = Wire()
    wire.reordered = True
    assert delivered(wire, [1, 2, 3, 4, 5, 6]) == [None, 2, None, 4, None, 6]


def test_a_frozen_state_repeats_its_values_under_a_running_clock():
    wire = Wire()
    wire.frozen = True
    first = bytes(wire.outgoing(packet(1)))
    later = bytearray(struct.pack("<Q", 2).ljust(16, b"\2"))
    assert wire.outgoing(later) == struct.pack("<Q", 2) + first[8:]
    wire.frozen = False
    assert wire.outgoing(later) is later


def test_a_cut_network_passes_nothing_and_a_new_motion_starts_clean():
    wire = Wire()
    wire.cut = True
    assert wire.outgoing(packet(1)) is None and delivered(wire, [1]) == [None]
    wire.cut, wire.late_cycles = False, 2
    delivered(wire, [5])
    wire.forget()
    wire.late_cycles = 0
    assert delivered(wire, [None, None, 3]) == [None, None, 3]


@pytest.mark.parametrize("fault", [name for name in FAULTS if name not in AT_ONCE])
def test_every_lasting_fault_ends_when_its_time_is_over(rig, fault):
    before = dict(vars(rig.wire)), dict(vars(rig.arm.fingers)), rig.robot.mode
    message = rig.faults.inject(fault, 0.05)
    assert "for 0.05 s" in message and rig.faults.running == (fault,)
    rig.run(0.04)
    assert rig.faults.running == (fault,)
    rig.run(0.02)
    assert rig.faults.running == ()
    after = dict(vars(rig.wire)), dict(vars(rig.arm.fingers)), rig.robot.mode
    assert after == before


def test_a_fault_without_a_duration_lasts_until_it_is_cleared(rig):
    assert "until 'clear'" in rig.faults.inject("user_stop")
    rig.faults.inject("gripper_blocked")
    rig.run(1.0)
    assert rig.robot.mode is RobotMode.USER_STOPPED and rig.arm.fingers.blocked
    assert rig.faults.inject("clear") == "ended user_stop, gripper_blocked"
    assert rig.robot.mode is RobotMode.IDLE and not rig.arm.fingers.blocked
    assert rig.faults.inject("clear") == "no fault was running"


def test_the_same_fault_again_replaces_the_first(rig):
    rig.faults.inject("late_commands", 1.0, 5)
    rig.faults.inject("late_commands", 1.0, 9)
    assert rig.wire.late_cycles == 9 and rig.faults.running == ("late_commands",)


def test_a_cut_silences_the_hand_too(rig):
    rig.faults.inject("network_cut", 0.01)
    rig.run(0.02)
    assert rig.cuts == [True, False]


def test_any_error_can_be_raised_and_the_clock_jumps(rig):
    for error in Error:
        rig.robot.mode = RobotMode.IDLE
        rig.faults.inject(error.name.lower())
        assert np.flatnonzero(rig.robot._state.fields["errors"]).tolist() == [error]
    rig.faults.inject("reflex")
    assert rig.robot._state.fields["errors"][Error.CARTESIAN_REFLEX]
    rig.faults.inject("clock_jump", amount=-2.5)
    assert rig.jumps == [-2.5]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("earthquake",), "no fault 'earthquake'; known: lost_commands, late_commands"),
        (("user_stop", -1.0), "0 or more seconds, got -1.0"),
        (("lost_states", 1.0, float("nan")), "takes a number, got nan"),
        (("lost_states", 1.0, 1.5), r"takes a share in \[0, 1\], got 1.5"),
    ],
)
def test_faults_that_cannot_be_are_refused(rig, arguments, message):
    with pytest.raises(WorldError, match=message):
        rig.faults.inject(*arguments)
    assert rig.faults.running == ()


def test_an_arm_is_led_home_by_hand_also_after_a_reflex(rig):
    rig.robot.place_arm(np.array(rig.arm.task.home_q_rad) + 0.2, 0.01)
    rig.faults.inject("reflex")
    assert rig.faults.inject("led_home").startswith("somebody leads the arm home") and not rig.faults.running
    assert np.array_equal(rig.arm.q_rad, rig.arm.task.home_q_rad) and rig.robot.mode == RobotMode.REFLEX
