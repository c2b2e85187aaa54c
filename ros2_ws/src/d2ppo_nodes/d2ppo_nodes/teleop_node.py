"""Teleop node: a person's device in, timed chunks of absolute targets out, the same way as a policy's.

What it publishes while the dead-man switch is held, how an arm is taken and given back: ``docs/lab/teleoperate.md``.
"""

import secrets
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from rclpy.clock import Clock, ClockType
from rclpy.task import Future
from scipy.spatial.transform import Rotation
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger

from d2ppo_core.errors import ConfigError, DeviceError
from d2ppo_core.extras import how_to_get
from d2ppo_core.geometry import RigidState
from d2ppo_core.runtime.teleop.devices import Device, open_device
from d2ppo_core.runtime.teleop.mapping import Mapping, MappingConfig
from d2ppo_core.runtime.teleop.sample import Button, Sample
from d2ppo_core.stack.stepping import DETERMINISTIC, STEPPING
from d2ppo_interfaces.msg import ActionChunk, ArmState, TeleopStatus
from d2ppo_nodes.convert import fill_targets, mode_of, time_msg, transform_of, twist_msg, twist_of
from d2ppo_nodes.lifecycle import StackNode
from d2ppo_nodes.qos import EVERY, LATCHED, NEWEST, SENSOR
from d2ppo_nodes.running import run

if TYPE_CHECKING:
    from d2ppo_nodes.panel import Panel

HAND = "hand"
"""Stands for the bundle in a hand's chunks."""
_LOOK_S = 0.005
_CHUNK_S = 0.02
"""A hand that changes nothing says so this often."""
_LEAST_S = 0.008
"""One that changes something all the time, as a stick does, no more often."""
_STATUS_S = 0.05
_STALE_S = 0.2
_FOUND_S = 2.0
_CALLS = (Button.HOME, Button.START, Button.STOP, Button.RECOVER, Button.CLEAR)
_FOLLOWING = (ArmState.RUNNING, ArmState.HOLDING)
PANEL = "panel"


class TeleopNode(StackNode):
    """Looks at its device 200 times a second; a change becomes a chunk at once."""

    called = "teleop"
    claims = ("teleop/status",)
    _device: Device
    """From ``configure`` to ``cleanup``."""
    _panel: "Panel | None"

    def configure(self) -> None:
        """Open the device and create the interfaces."""
        if self.text(STEPPING) == DETERMINISTIC:
            raise ConfigError("a hand keeps real time: teleoperation needs stepping real_time")
        self._mapping, self._panel = Mapping(self._mapping_config()), None
        self._device = self._open()
        self._arm: ArmState | None = None
        self._arm_s = self._chunk_s = self._status_s = 0.0
        self._held, self._wanted, self._said = False, "", ""
        self._twist = np.zeros(6)
        self._sequence, self._due = 0, dict[Button, float]()
        self._source = f"{self.get_fully_qualified_name()} {secrets.token_hex(4)}"
        self._chunks = self.create_publisher(ActionChunk, "teleop/chunk", NEWEST)
        self._status = self.create_publisher(TeleopStatus, "teleop/status", LATCHED)
        self._buttons = self.create_publisher(String, "teleop/button", EVERY)
        self._estop = self.create_publisher(Bool, "estop", NEWEST)
        self._callable = {button: self.create_client(Trigger, f"arm/{button}") for button in _CALLS}
        self.create_subscription(ArmState, "arm/state", self._on_arm, SENSOR)
        self._timer = self.create_timer(_LOOK_S, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._timer.cancel()

    def _open(self) -> Device:
        if self.text("device") != PANEL:
            return open_device(self.text("device"), self.text("device_path"))
        try:
            from d2ppo_nodes.panel import Panel
        except ModuleNotFoundError as error:
            raise ConfigError(how_to_get(error.name or "") or str(error)) from None
        self._panel = Panel(self, self._mapping)
        return self._panel.device

    def _mapping_config(self) -> MappingConfig:
        quat = self.numbers("camera_quat_xyzw")
        return MappingConfig(
            max_speed_m_s=self.number("max_speed_m_s"),
            max_turn_rad_s=self.number("max_turn_rad_s"),
            dead_zone=self.number("dead_zone"),
            frame=self.text("frame"),
            R_ee_camera=Rotation.from_quat(quat).as_matrix() if quat else None,
            max_lead_m=self.number("max_lead_m"),
            max_lead_rad=self.number("max_lead_rad"),
        )

    def activate(self) -> None:
        """Begin to look at the device."""
        self._timer.reset()
        for line in self._device.help.splitlines():
            self.get_logger().info(line)

    def deactivate(self) -> None:
        """Let the arm go."""
        self._timer.cancel()
        self._let_go()

    def cleanup(self) -> None:
        """Let the device go; a terminal is as it was before."""
        self._device.close()
        if self._panel is not None:
            self._panel.close()

    def _on_arm(self, message: ArmState) -> None:
        self._arm, self._arm_s = message, time.monotonic()
        if self._panel is not None:
            self._panel.arm = message
        said = f"arm {mode_of(message)}: {message.reason}"
        if said != self._said:
            self._said = said
            self.get_logger().info(said)

    def _look(self) -> None:
        now_s = time.monotonic()
        try:
            sample = self._device.read(now_s)
        except DeviceError as error:
            self._let_go()
            self.failure = str(error)
            self.get_logger().fatal(self.failure)
            return
        for button in sample.pressed:
            self._press(button, now_s)
        self._call_what_is_due(now_s)
        if sample.held and not self._held:
            self._take()
        edge, self._held = sample.held != self._held, sample.held
        self._follow(sample, now_s)
        if edge or now_s - self._status_s >= _STATUS_S:
            self._publish_status(now_s)

    def _take(self) -> None:
        if self._arm is None:
            self.get_logger().warning("no arm says how it is: is its node active?")
            return
        self._mapping.begin(self._arm.gripper_width_m, self._arm.gripper_grasped)
        if self._arm.state not in _FOLLOWING:
            self._say(f"{self._said}; it follows nobody before start")

    def _follow(self, sample: Sample, now_s: float) -> None:
        """Send a chunk when something changed, or when it is time to."""
        arm = self._arm
        if arm is None or not sample.held or now_s - self._arm_s > _STALE_S:
            self._twist = np.zeros(6)
            return
        wanted = repr((sample.deflection.tolist(), sample.opening, vars(self._mapping)))
        if now_s - self._chunk_s < (_CHUNK_S if wanted == self._wanted else _LEAST_S):
            return
        self._wanted, self._chunk_s = wanted, now_s
        reference = RigidState(transform_of(arm.reference_pose), twist_of(arm.reference_twist))
        measured = RigidState(transform_of(arm.pose), twist_of(arm.twist))
        self._twist = self._mapping.twist(sample, reference.pose)
        stamp = time_msg(self.now_ns())
        chunk = ActionChunk(sequence=self._sequence, epoch=arm.epoch, bundle_hash=HAND, source=self._source)
        chunk.header.stamp, chunk.header.frame_id = arm.header.stamp, arm.header.frame_id
        chunk.received = chunk.inference_start = chunk.inference_end = chunk.published = stamp
        fill_targets(chunk, self._mapping.targets(self._twist, reference, measured))
        self._chunks.publish(chunk)
        self._sequence += 1

    def _let_go(self) -> None:
        self._held, self._twist = False, np.zeros(6)
        self._publish_status(time.monotonic())

    def _publish_status(self, now_s: float) -> None:
        self._status_s = now_s
        mapping = self._mapping
        status = TeleopStatus(
            device=self._device.name,
            held=self._held,
            frame=mapping.frame,
            lock=mapping.lock,
            speed=mapping.speed,
            command=twist_msg(self._twist),
            gripper_width_m=mapping.width_m,
        )
        if self._arm is not None:
            status.header = self._arm.header
        self._status.publish(status)

    def _press(self, button: Button, now_s: float) -> None:
        self._buttons.publish(String(data=str(button)))
        if self._mapping.press(button):
            mapping = self._mapping
            self.get_logger().info(f"speed {100 * mapping.speed:.0f} %, frame {mapping.frame}, lock {mapping.lock}")
        elif button is Button.ESTOP:
            self._estop.publish(Bool(data=True))
        if button in (Button.ESTOP, Button.STOP):
            self._due.clear()
        if button in self._callable:
            self._due[button] = now_s + _FOUND_S

    def _call_what_is_due(self, now_s: float) -> None:
        """Call the services of pressed buttons; a node that has just begun waits a moment until it knows them."""
        for button, until_s in list(self._due.items()):
            if self._callable[button].service_is_ready():
                future = self._callable[button].call_async(Trigger.Request())
                future.add_done_callback(partial(self._answered, button))
            elif now_s < until_s:
                continue
            else:
                self._say(f"{button}: no arm offers it")
            del self._due[button]

    def _answered(self, button: Button, future: Future) -> None:
        answer = future.result()
        if answer is not None and not answer.success:
            self._say(f"{button}: {answer.message}")

    def _say(self, text: str) -> None:
        self.get_logger().warning(text)
        if self._panel is not None:
            self._panel.say(text)


def main() -> None:
    """Run the node."""
    sys.exit(run(TeleopNode))


if __name__ == "__main__":
    main()
