"""Which topics are recorded, by name, type and kind."""

import hashlib
import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from d2ppo_core.errors import ConfigError

PICTURES = "sensor_msgs/msg/Image"
_INFO = "sensor_msgs/msg/CameraInfo"
FIXED = {
    "arm/state": "d2ppo_interfaces/msg/ArmState",
    "policy/chunk": "d2ppo_interfaces/msg/ActionChunk",
    "policy/status": "d2ppo_interfaces/msg/PolicyStatus",
    "teleop/chunk": "d2ppo_interfaces/msg/ActionChunk",
    "teleop/status": "d2ppo_interfaces/msg/TeleopStatus",
    "teleop/button": "std_msgs/msg/String",
    "perception/objects": "d2ppo_interfaces/msg/ObjectPoses",
    "joint_states": "sensor_msgs/msg/JointState",
    "franka_gripper/joint_states": "sensor_msgs/msg/JointState",
    "franka_robot_state_broadcaster/current_pose": "geometry_msgs/msg/PoseStamped",
    "franka_robot_state_broadcaster/external_wrench_in_base_frame": "geometry_msgs/msg/WrenchStamped",
    "sim/state": "d2ppo_interfaces/msg/WorldState",
}
"""Topics of every stack, whether anybody publishes them or not; cameras are found on the graph."""
LATCHED_TOPICS = ("policy/status", "teleop/status")
"""Their newest message stands at the beginning of an episode."""


def type_named(datatype: str) -> Any:
    """Return the class of a message, such as `sensor_msgs/msg/Image`."""
    package, _, name = datatype.split("/")
    return getattr(importlib.import_module(f"{package}.msg"), name)


def topics_of_cameras(space: str, known: Sequence[tuple[str, list[str]]]) -> Iterator[tuple[str, str]]:
    """Topics of the cameras of a namespace, without it, with their types.

    What the cameras give in colour, what policies see of it, and their optics; no depth.
    """
    for topic, kinds in known:
        if topic.startswith(f"{space}/camera/") and topic.split("/")[-2] in ("color", "policy"):
            for kind in kinds:
                if kind in (PICTURES, _INFO):
                    yield topic.removeprefix(f"{space}/"), kind


def source_of(topic: str) -> str:
    """Camera and kind of a picture's topic, as `wrist/color`."""
    return "/".join(topic.split("/")[1:3])


def file_hash(path: Path) -> str:
    """Return the first 16 digits of a file's SHA-256. Raises ConfigError where it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise ConfigError(f"parameter calibration: {path} cannot be read: {error.strerror}") from error
