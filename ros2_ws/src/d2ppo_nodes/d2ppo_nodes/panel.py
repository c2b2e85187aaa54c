"""The operator's panel of a teleop node: what its pages show of the arm, the hand and the cameras."""

from __future__ import annotations

from typing import Any

from rclpy.clock import Clock, ClockType
from sensor_msgs.msg import Image

from d2ppo_core.runtime.teleop.devices import Device
from d2ppo_core.runtime.teleop.mapping import Mapping
from d2ppo_core.runtime.teleop.panel import PagePort, PanelParser
from d2ppo_interfaces.msg import ArmState
from d2ppo_nodes.convert import image_array, mode_of, time_ns
from d2ppo_nodes.lifecycle import StackNode
from d2ppo_nodes.panel_server import PanelServer
from d2ppo_nodes.qos import SENSOR

_LOOK_S = 1.0
_HEAD, _TAIL = "/camera/", "/color/image_raw"


class Panel:
    """A server, the device that its page is, and subscriptions to all cameras of the stack."""

    def __init__(self, node: StackNode, mapping: Mapping) -> None:
        """Serve the page; raises DeviceError when the port is taken."""
        self._node, self._mapping = node, mapping
        self.arm: ArmState | None = None
        """What the arm said last."""
        self._note, self._notes = "", 0
        self._cameras: dict[str, str] = {}
        pages = PagePort()
        self._server = PanelServer(node.text("panel_host"), node.integer("panel_port"), pages, self._tell)
        self.device = Device("panel", pages, PanelParser(), f"the panel is at {self._server.url}")
        node.create_timer(_LOOK_S, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def say(self, text: str) -> None:
        """Show a line, until the next one."""
        self._note, self._notes = text, self._notes + 1

    def close(self) -> None:
        """End the server."""
        self._server.close()

    def _look(self) -> None:
        """Begin to hear cameras that appeared; those of other namespaces, such as a pair's, by full name."""
        own = f"{self._node.get_namespace().rstrip('/')}{_HEAD}"
        for topic, kinds in self._node.get_topic_names_and_types():
            is_camera = _HEAD in topic and topic.endswith(_TAIL) and "sensor_msgs/msg/Image" in kinds
            if is_camera and topic not in self._cameras:
                self._cameras[topic] = topic.removeprefix(own).removesuffix(_TAIL)
                self._node.create_subscription(Image, topic, self._hearing(self._cameras[topic]), SENSOR)

    def _hearing(self, camera: str) -> Any:
        def hear(message: Image) -> None:
            self._server.pictures[camera] = time_ns(message.header.stamp), image_array(message)

        return hear

    def _tell(self) -> dict[str, Any]:
        """What a page shows; called in the server's threads."""
        arm, mapping = self.arm, self._mapping
        told: dict[str, Any] = {"note": self._note, "notes": self._notes, "arm": None}
        told |= {"speed": mapping.speed, "frame": mapping.frame, "lock": mapping.lock}
        if arm is not None:
            told["arm"] = {
                "state": mode_of(arm),
                "reason": arm.reason,
                "by_hand": arm.by_hand,
                "stamp_s": time_ns(arm.header.stamp) * 1e-9,
                "hand_mm": 1e3 * arm.gripper_width_m,
                "grasped": arm.gripper_grasped,
                "missed": arm.missed_ticks,
                "ticks": arm.ticks,
                "limited": arm.safety_interventions,
            }
        return told
