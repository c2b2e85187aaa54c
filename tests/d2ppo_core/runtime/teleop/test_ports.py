"""Which device is taken, and what is said when none can be."""

import os

import pytest

from d2ppo_core.errors import DeviceError
from d2ppo_core.runtime.teleop.ports import Port, gamepads, only_one, spacemice

LISTING = """I: Bus=0003 Vendor=045e Product=02ea Version=0301
N: Name="Microsoft Xbox One S pad"
H: Handlers=event7 js0
B: KEY=7cdb000000000000 0 0 0 0

I: Bus=0011 Vendor=0001 Product=0001 Version=ab41
N: Name="AT Translated Set 2 keyboard"
H: Handlers=sysrq kbd event0 leds

I: Bus=0003 Vendor=256f Product=c635 Version=0111
N: Name="3Dconnexion SpaceMouse Compact"
H: Handlers=mouse1 event9 js1
"""


def test_pads_are_found_by_what_the_kernel_lists(tmp_path):
    listing = tmp_path / "devices"
    listing.write_text(LISTING)
    assert gamepads(listing) == {"/dev/input/event7": "Microsoft Xbox One S pad"}
    assert gamepads(tmp_path / "none") == {}


def test_spacemice_are_found_by_vendor_and_name(tmp_path):
    for name, vendor, called in (
        ("hidraw0", "0000256F", "3Dconnexion SpaceMouse Compact"),
        ("hidraw1", "0000046D", "Logitech USB Receiver"),
        ("hidraw2", "0000046D", "3Dconnexion SpaceNavigator"),
    ):
        folder = tmp_path / name / "device"
        folder.mkdir(parents=True)
        (folder / "uevent").write_text(f"DRIVER=hid-generic\nHID_ID=0003:{vendor}:0000C635\nHID_NAME={called}\n")
    assert list(spacemice(tmp_path)) == ["/dev/hidraw0", "/dev/hidraw2"]


def test_none_and_several_are_one_line_that_lists_them():
    with pytest.raises(DeviceError, match="no gamepad is plugged in"):
        only_one("gamepad", {})
    with pytest.raises(DeviceError, match=r"/dev/a \(one\), /dev/b \(two\); say which one by its path"):
        only_one("gamepad", {"/dev/b": "two", "/dev/a": "one"})
    assert only_one("gamepad", {"/dev/a": "one"}) == "/dev/a"


def test_a_path_that_is_not_there_is_one_line():
    with pytest.raises(DeviceError, match="gamepad /dev/input/event99 cannot be opened: No such file"):
        Port("gamepad", "/dev/input/event99")


@pytest.mark.parametrize(("kind", "rule"), [("gamepad", "ID_INPUT_JOYSTICK"), ("spacemouse", "256f")])
def test_a_device_without_permission_names_the_udev_rule(tmp_path, kind, rule, monkeypatch):
    def refuse(*_: object) -> int:  # who runs as root may open anything
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(DeviceError, match=f"no permission to read {kind} /dev/x; as root: .*{rule}.*70-d2ppo"):
        Port(kind, "/dev/x")
