"""Keys as a terminal sends them, through a real pseudo-terminal, and a terminal that is left as it was."""

import os
import pty
import subprocess
import sys
import termios

import numpy as np
import pytest

from d2ppo_core.errors import DeviceError
from d2ppo_core.runtime.teleop.devices import open_device
from d2ppo_core.runtime.teleop.keyboard import HOLDS_S, MOVES_S, KeyboardParser
from d2ppo_core.runtime.teleop.sample import Button


@pytest.fixture
def terminal():
    ours, theirs = pty.openpty()
    yield ours, os.ttyname(theirs), theirs
    os.close(ours)
    os.close(theirs)


def test_a_key_moves_as_long_as_it_repeats_and_holds_a_little_longer(terminal):
    ours, name, _ = terminal
    device = open_device("keyboard", name)
    assert not device.read(0.0).held
    for now_s in (1.0, 1.4, 1.44, 1.48):  # the terminal's first pause, then its repeats
        os.write(ours, b"w")
        sample = device.read(now_s)
        assert sample.held and sample.deflection.tolist() == [1, 0, 0, 0, 0, 0]
    assert device.read(1.48 + 0.9 * MOVES_S).deflection[0] == 1
    still = device.read(1.48 + 1.1 * MOVES_S)
    assert still.held and not still.deflection.any(), "a tap only pauses the hand, it does not give the arm back"
    assert not device.read(1.48 + 1.1 * HOLDS_S).held
    device.close()


def test_opposite_and_combined_keys_count_each_for_its_own_axis():
    parser = KeyboardParser()
    parser.feed(b"wal", 0.0)
    parser.feed(b"s", 0.05)
    np.testing.assert_array_equal(parser.sample(0.06).deflection, (-1, 1, 0, 0, 0, -1))


def test_buttons_are_told_once_and_a_stop_lets_go():
    parser = KeyboardParser()
    parser.feed(b"w +\rby", 0.0)
    wanted = (Button.GRIPPER, Button.FASTER, Button.START, Button.EPISODE, Button.SUCCESS)
    assert parser.sample(0.0).pressed == wanted
    assert parser.sample(0.0).pressed == ()
    parser.feed(b"\x1b", 0.01)
    sample = parser.sample(0.01)
    assert sample.pressed == (Button.STOP,) and not sample.held and not sample.deflection.any()


def test_arrows_and_function_keys_are_neither_stops_nor_letters():
    parser = KeyboardParser()
    parser.feed(b"\x1b[A\x1bOP\x1b[1;5D\x1b[15~\xc3\xa9", 0.0)
    sample = parser.sample(0.0)
    assert sample.pressed == () and not sample.held


def test_pasted_text_presses_nothing(terminal):
    ours, name, _ = terminal
    device = open_device("keyboard", name)
    assert os.read(ours, 16) == b"\x1b[?2004h", "the terminal is asked to mark it"
    os.write(ours, b"\x1b[200~Hello Robot\r")
    assert device.read(0.0).pressed == ()
    os.write(ours, b"www\x1b[201~y")
    sample = device.read(0.1)
    assert sample.pressed == (Button.SUCCESS,) and not sample.held
    device.close()
    assert os.read(ours, 16) == b"\x1b[?2004l"


def test_the_terminal_is_as_before_however_the_program_ends(terminal):
    _, name, theirs = terminal
    before = termios.tcgetattr(theirs)
    device = open_device("keyboard", name)
    during = termios.tcgetattr(theirs)
    assert not during[3] & (termios.ECHO | termios.ICANON) and during[3] & termios.ISIG, "Ctrl-C stays what it is"
    device.close()
    assert termios.tcgetattr(theirs) == before
    code = f"from d2ppo_core.runtime.teleop.devices import open_device; open_device('keyboard', {name!r}); 1 / 0"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 1
    assert termios.tcgetattr(theirs) == before


def test_what_is_no_terminal_is_refused_and_one_that_hangs_up_is_noticed(tmp_path, terminal):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(DeviceError, match="needs a terminal, and .* is none: run d2ppo teleop in one"):
        open_device("keyboard", str(file))
    ours, theirs = pty.openpty()
    device = open_device("keyboard", os.ttyname(theirs))
    os.close(ours)
    with pytest.raises(DeviceError, match="unplugged|is gone"):
        device.read(0.0)
    device.close()
    os.close(theirs)
