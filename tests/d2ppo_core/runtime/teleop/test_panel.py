"""Messages of a page: what is held counts for a moment, and what is no message lets go."""

import json

import numpy as np
import pytest

from d2ppo_core.runtime.teleop.devices import Device
from d2ppo_core.runtime.teleop.panel import SILENCE_S, PagePort, PanelParser
from d2ppo_core.runtime.teleop.sample import Button

FORWARD = {"held": True, "deflection": [1, 0, 0, 0, 0, -2]}


def message(**fields) -> bytes:
    return json.dumps(fields).encode()


def test_what_a_page_holds_counts_until_it_goes_quiet():
    parser = PanelParser()
    parser.feed(message(**FORWARD, opening=1.5, pressed=["start", "gripper"]), 1.0)
    sample = parser.sample(1.0 + 0.9 * SILENCE_S)
    assert sample.held and sample.opening == 1.0 and sample.pressed == (Button.START, Button.GRIPPER)
    np.testing.assert_array_equal(sample.deflection, (1, 0, 0, 0, 0, -1))
    late = parser.sample(1.0 + 1.1 * SILENCE_S)
    assert not late.held and not late.deflection.any() and late.pressed == ()


@pytest.mark.parametrize(
    "broken",
    [b"", b"{", b"[1]", b"7", b"{}", message(held=True, deflection=[1, 2]), message(held=True, pressed=["dance"]),
     message(held=True, opening="wide"), b'{"held": true, "deflection": [NaN, 0, 0, 0, 0, 0]}', b"\xff"],
)  # fmt: skip
def test_what_is_no_message_lets_go_of_everything(broken):
    parser = PanelParser()
    parser.feed(message(**FORWARD), 0.0)
    parser.feed(broken, 0.01)
    assert not parser.sample(0.01).held


def test_only_true_holds():
    parser = PanelParser()
    parser.feed(message(held="yes"), 0.0)
    assert not parser.sample(0.0).held


def test_a_page_that_left_has_let_go_and_what_it_had_sent_is_void():
    pages = PagePort()
    device = Device("panel", pages, PanelParser(), "")
    pages.push(message(**FORWARD))
    assert not device.read(0.0).held, "nobody was connected"
    pages.connected = True
    pages.push(message(**FORWARD))
    assert device.read(0.0).held
    pages.push(message(held=True, pressed=["start"]))
    pages.connected = False
    sample = device.read(0.01)
    assert not sample.held and sample.pressed == ()
    pages.push(message(held=False, pressed=["estop"]), urgent=True)
    assert device.read(0.02).pressed == (Button.ESTOP,), "whoever steers"
    device.close()
