"""Frames come out in the order of capture, when nothing that belongs to them can still arrive."""

import itertools

import numpy as np
import pytest

from d2ppo_core.runtime.inference.frame_order import FrameOrder

MESSAGES = [("left", 50), ("right", 50), ("arm", 48), ("arm", 56), ("left", 100), ("right", 100), ("arm", 104)]


def picture(number: int) -> np.ndarray:
    return np.full((2, 2, 3), number, np.uint8)


def possible(order: tuple[tuple[str, int], ...]) -> bool:
    """Whether each publisher's messages keep their order."""
    return all(
        list(own) == sorted(own) for name in ("left", "right", "arm") for own in [[m for m in order if m[0] == name]]
    )


ORDERS = [order for order in itertools.permutations(MESSAGES) if possible(order)]


@pytest.mark.parametrize("order", ORDERS[::7])
def test_whatever_comes_first_each_frame_comes_once_with_its_own_pictures(order: list[tuple[str, int]]) -> None:
    frames, found = FrameOrder(("left", "right")), []
    for who, stamp in order:
        if who == "arm":
            frames.push_arm(stamp)
        else:
            frames.push(who, stamp, picture(stamp))
        found += list(frames.ready())
    assert [stamp for stamp, _ in found] == [50, 100]
    for stamp, pictures in found:
        assert {camera: int(image[0, 0, 0]) for camera, image in pictures.items()} == {"left": stamp, "right": stamp}


def test_a_frame_waits_for_the_state_that_may_be_nearest_to_it() -> None:
    frames = FrameOrder(("wrist",))
    frames.push_arm(48)
    frames.push("wrist", 50, picture(1))
    assert list(frames.ready()) == []
    frames.push_arm(56)
    assert [stamp for stamp, _ in frames.ready()] == [50] and list(frames.ready()) == []


def test_without_cameras_each_state_of_the_arm_is_a_frame() -> None:
    frames = FrameOrder(())
    for stamp in (8, 16):
        frames.push_arm(stamp)
    assert list(frames.ready()) == [(8, {}), (16, {})]


def test_with_two_arms_a_frame_waits_for_the_later_of_them() -> None:
    frames = FrameOrder(("objects",), num_arms=2)
    frames.push("objects", 50, picture(1))
    frames.push_arm(56, 0)
    frames.push_arm(48, 1)
    assert list(frames.ready()) == []
    frames.push_arm(56, 1)
    assert [stamp for stamp, _ in frames.ready()] == [50]
    blind = FrameOrder((), num_arms=2)
    for arm in (0, 1):
        assert list(blind.ready()) == []
        blind.push_arm(8, arm)
    assert [stamp for stamp, _ in blind.ready()] == [8], "once, although both told of it"
    blind.push_arm(8, 1)
    assert list(blind.ready()) == []


def test_a_clock_that_jumps_back_forgets_what_waited() -> None:
    frames = FrameOrder(("wrist",))
    frames.push_arm(1000)
    frames.push("wrist", 1050, picture(1))
    frames.push_arm(8)
    frames.push_arm(2000)
    assert list(frames.ready()) == []
