"""The stamp at the front of a serialised message, in both orders of its bytes."""

import struct

import pytest

from d2ppo_core.runtime.recording.raw import Channel, RawMessage, header_stamp_ns

LITTLE, BIG = b"\x00\x01\x00\x00", b"\x00\x00\x00\x00"


@pytest.mark.parametrize(("head", "order"), [(LITTLE, "<"), (BIG, ">")])
@pytest.mark.parametrize(("sec", "nanosec"), [(0, 0), (1, 999_999_999), (2**31 - 1, 5), (-3, 7)])
def test_a_stamp_is_read_in_the_order_that_the_message_names(head: bytes, order: str, sec: int, nanosec: int) -> None:
    data = head + struct.pack(f"{order}iI", sec, nanosec) + b"\x05\x00\x00\x00base\x00"
    assert header_stamp_ns(data) == sec * 10**9 + nanosec


def test_a_message_that_breaks_off_is_an_error_and_no_time() -> None:
    with pytest.raises(struct.error):
        header_stamp_ns(LITTLE + b"\x01\x00")


def test_what_is_kept_of_a_message_cannot_change() -> None:
    message = RawMessage(Channel("arm/state", "d2ppo_interfaces/msg/ArmState"), b"data", 2, 1)
    with pytest.raises(AttributeError):
        message.data = b"other"  # type: ignore[misc]
