"""HID reports of new and old SpaceMice."""

import struct

import numpy as np

from d2ppo_core.runtime.teleop.sample import Button
from d2ppo_core.runtime.teleop.spacemouse import LINGERS_S, SILENCE_S, SpaceMouseParser, report


def test_the_cap_moves_the_hand_the_way_it_is_pushed():
    parser = SpaceMouseParser()
    parser.feed(report((0, -350, 0), (0, 0, 0)), 0.0)  # away from the person
    np.testing.assert_allclose(parser.sample(0.0).deflection, (1, 0, 0, 0, 0, 0), atol=1e-9)
    parser.feed(report((175, 0, -350), (0, 0, -350)), 0.01)  # right, up, turned to the left
    sample = parser.sample(0.01)
    np.testing.assert_allclose(sample.deflection, (0, -0.5, 1, 0, 0, 1), atol=1e-9)
    assert sample.held and sample.opening is None


def test_old_models_tell_translation_and_rotation_apart():
    parser = SpaceMouseParser()
    parser.feed(struct.pack("<B3h", 1, 0, -175, 0), 0.0)
    parser.feed(struct.pack("<B3h", 2, 0, 0, 350), 0.0)
    np.testing.assert_allclose(parser.sample(0.0).deflection, (0.5, 0, 0, 0, 0, -1), atol=1e-9)


def test_the_cap_is_the_dead_man_switch_and_lingers_at_its_centre():
    parser = SpaceMouseParser()
    assert not parser.sample(0.0).held
    parser.feed(report((0, 5, 0), (0, 0, 0)), 0.0)
    assert not parser.sample(0.0).held, "a cap at rest is never quite at zero"
    parser.feed(report((0, 100, 0), (0, 0, 0)), 1.0)
    parser.feed(report((0, 0, 0), (0, 0, 0)), 1.01)
    assert parser.sample(1.0 + 0.9 * LINGERS_S).held
    assert not parser.sample(1.0 + 1.1 * LINGERS_S).held


def test_a_deflected_cap_that_says_nothing_has_been_cut_off():
    parser = SpaceMouseParser()
    parser.feed(report((0, -350, 0), (0, 0, 0)), 0.0)
    assert parser.sample(0.9 * SILENCE_S).deflection[0] == 1.0
    sample = parser.sample(1.1 * SILENCE_S)
    assert not sample.held and not sample.deflection.any()


def test_buttons_are_told_when_they_go_down_and_foreign_reports_are_ignored():
    parser = SpaceMouseParser()
    for data in (b"\x03\x01\x00", b"\x03\x03\x00", b"\x03\x00\x00", b"\x17\x40", b"", b"\x01\x02"):
        parser.feed(data, 0.0)
    sample = parser.sample(0.0)
    assert sample.pressed == (Button.GRIPPER, Button.START) and not sample.held
    parser.feed(b"\x03" + (1 << 22).to_bytes(6, "little"), 0.0)
    assert parser.sample(0.0).pressed == (Button.STOP,)
