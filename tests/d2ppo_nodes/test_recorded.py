"""Which topics are recorded: names and types that exist, cameras of the own namespace, no depth."""

import hashlib
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (extra ros)")

from d2ppo_core.errors import ConfigError  # noqa: E402
from d2ppo_core.runtime.recording.definitions import definition, starts_with_header  # noqa: E402
from d2ppo_nodes.recorded import (  # noqa: E402
    FIXED,
    LATCHED_TOPICS,
    PICTURES,
    file_hash,
    source_of,
    topics_of_cameras,
    type_named,
)

INFO = "sensor_msgs/msg/CameraInfo"
KNOWN = [
    ("/panda/camera/wrist/color/image_raw", [PICTURES]),
    ("/panda/camera/wrist/color/camera_info", [INFO]),
    ("/panda/camera/wrist/policy/image_raw", [PICTURES]),
    ("/panda/camera/wrist/depth/image_rect_raw", [PICTURES]),
    ("/panda/camera/wrist/color/image_raw/compressed", ["sensor_msgs/msg/CompressedImage"]),
    ("/panda/arm/state", ["d2ppo_interfaces/msg/ArmState"]),
    ("/left/camera/wrist/color/image_raw", [PICTURES]),
    ("/pandas/camera/wrist/color/image_raw", [PICTURES]),
]


def test_every_topic_of_the_list_has_a_type_and_its_definition() -> None:
    for datatype in FIXED.values():
        assert type_named(datatype).__name__ == datatype.split("/")[2]
        assert definition(datatype)
    plain = {topic for topic, datatype in FIXED.items() if not starts_with_header(datatype)}
    assert plain == {"teleop/button"}
    assert set(LATCHED_TOPICS) <= set(FIXED)


def test_cameras_of_the_namespace_are_found_in_colour_and_as_policies_see_them() -> None:
    assert list(topics_of_cameras("/panda", KNOWN)) == [
        ("camera/wrist/color/image_raw", PICTURES),
        ("camera/wrist/color/camera_info", INFO),
        ("camera/wrist/policy/image_raw", PICTURES),
    ]
    assert list(topics_of_cameras("", [("/camera/a/color/image_raw", [PICTURES])])) == [
        ("camera/a/color/image_raw", PICTURES)
    ]


def test_pictures_are_named_by_camera_and_kind() -> None:
    assert source_of("camera/wrist/policy/image_raw") == "wrist/policy"


def test_a_calibration_is_named_by_the_hash_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "wrist.yaml"
    path.write_bytes(b"version: 1\n")
    assert file_hash(path) == hashlib.sha256(b"version: 1\n").hexdigest()[:16]
    with pytest.raises(ConfigError, match="parameter calibration: .*none.yaml cannot be read"):
        file_hash(tmp_path / "none.yaml")
