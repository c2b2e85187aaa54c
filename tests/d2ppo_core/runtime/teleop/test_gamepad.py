"""Events as the kernel writes them: through a FIFO that stands for /dev/input/event…, and cut anywhere."""

import os

import numpy as np
import pytest

from d2ppo_core.runtime.teleop import gamepad as pad
from d2ppo_core.runtime.teleop.devices import open_device
from d2ppo_core.runtime.teleop.sample import Button


def events(*rows: tuple[int, int, int]) -> bytes:
    return b"".join(pad.event(*row) for row in (*rows, (pad.SYN, pad.SYN_REPORT, 0)))


@pytest.fixture
def parser():
    return pad.GamepadParser()


def test_the_layout_is_the_kernels():
    assert pad.EVENT.size == 24
    recorded = bytes.fromhex("0b5e0c6600000000 a1c7030000000000 0100 3701 01000000".replace(" ", ""))
    parser = pad.GamepadParser()
    parser.feed(recorded, 0.0)
    assert parser.sample(0.0).held


def test_sticks_move_the_hand_and_turn_it_with_the_left_shoulder(parser):
    parser.feed(events((pad.KEY, pad.DEADMAN, 1), (pad.ABS, pad.LEFT_Y, -32768), (pad.ABS, pad.RIGHT_X, 32767)), 0.0)
    sample = parser.sample(0.0)
    assert sample.held
    np.testing.assert_allclose(sample.deflection, (1, 0, 0, 0, 0, -1), atol=1e-4)
    parser.feed(events((pad.KEY, pad.TURNS, 1), (pad.ABS, pad.LEFT_X, 32767)), 0.0)
    np.testing.assert_allclose(parser.sample(0.0).deflection, (0, 0, 0, 1, 1, -1), atol=1e-4)


def test_bytes_may_be_cut_anywhere(parser):
    data = events((pad.KEY, pad.DEADMAN, 1), (pad.KEY, pad.START, 1), (pad.ABS, pad.RIGHT_Y, -32768))
    for i in range(len(data)):
        parser.feed(data[i : i + 1], 0.0)
    sample = parser.sample(0.0)
    assert sample.held and sample.pressed == (Button.START,) and sample.deflection[2] == 1.0


def test_a_button_is_told_once_and_its_repeats_are_not(parser):
    parser.feed(events((pad.KEY, pad.SOUTH, 1), (pad.KEY, pad.SOUTH, 2), (pad.ABS, pad.HAT_Y, -1)), 0.0)
    parser.feed(events((pad.ABS, pad.HAT_Y, 0), (pad.KEY, pad.SOUTH, 0)), 0.0)
    assert parser.sample(0.0).pressed == (Button.GRIPPER, Button.FASTER)
    assert parser.sample(0.0).pressed == ()


def test_the_trigger_is_an_analogue_wish_until_the_toggle_is_pressed(parser):
    assert parser.sample(0.0).opening is None
    parser.feed(events((pad.ABS, pad.RIGHT_TRIGGER, 51)), 0.0)
    assert parser.sample(0.0).opening == pytest.approx(0.8)
    parser.feed(events((pad.KEY, pad.SOUTH, 1)), 0.0)
    assert parser.sample(0.0).opening is None


def test_lost_events_let_go_of_everything_until_the_next_report(parser):
    parser.feed(events((pad.KEY, pad.DEADMAN, 1), (pad.ABS, pad.LEFT_Y, -32768)), 0.0)
    parser.feed(events((pad.SYN, pad.SYN_DROPPED, 0), (pad.KEY, pad.DEADMAN, 1)), 0.0)
    sample = parser.sample(0.0)
    assert not sample.held and not sample.deflection.any()
    parser.feed(events((pad.KEY, pad.DEADMAN, 1)), 0.0)
    assert parser.sample(0.0).held


def test_ranges_of_the_device_count():
    parser = pad.GamepadParser({pad.LEFT_Y: (0, 255)})
    parser.feed(events((pad.ABS, pad.LEFT_Y, 0)), 0.0)
    assert parser.sample(0.0).deflection[0] == 1.0


def test_a_pad_whose_other_end_is_gone_has_been_let_go(tmp_path):
    path = tmp_path / "pad"
    os.mkfifo(path)
    device = open_device("gamepad", str(path))
    assert not device.read(0.0).held
    writer = os.open(path, os.O_WRONLY)
    os.write(writer, events((pad.KEY, pad.DEADMAN, 1)))
    assert device.read(0.0).held and device.read(0.1).held
    os.close(writer)
    assert not device.read(0.2).held
    device.close()
