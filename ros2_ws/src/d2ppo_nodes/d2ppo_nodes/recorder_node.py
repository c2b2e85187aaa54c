"""Recorder node: the messages of the topics, as they come, into one file per episode.

What is recorded, how episodes begin and end, and what happens when something breaks: ``docs/lab/record.md``.
"""

import sys
import time
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import String
from std_srvs.srv import Trigger

from d2ppo_core.errors import ConfigError, RecordingError
from d2ppo_core.runtime.recording.definitions import starts_with_header
from d2ppo_core.runtime.recording.episode import Outcome
from d2ppo_core.runtime.recording.raw import Channel, RawMessage, header_stamp_ns
from d2ppo_core.runtime.recording.session import Limits, Session
from d2ppo_core.runtime.recording.writer import free_bytes_at
from d2ppo_core.runtime.teleop.sample import Button
from d2ppo_core.stack.stepping import DETERMINISTIC, STEPPING
from d2ppo_interfaces.msg import ArmState, PolicyStatus, RecordStatus
from d2ppo_nodes.convert import time_msg
from d2ppo_nodes.lifecycle import StackNode
from d2ppo_nodes.qos import LATCHED
from d2ppo_nodes.recorded import FIXED, LATCHED_TOPICS, PICTURES, file_hash, source_of, topics_of_cameras, type_named
from d2ppo_nodes.running import run

_LOOK_S = 0.5
_SILENT_S = 2.0
_LOOKS = 3
"""Cameras are found in so many looks; an episode that began before would count as one without them."""
_MIB = 2**20
_ENDS = {
    "success": Outcome.SUCCESS,
    "failure": Outcome.FAILURE,
    "discard": Outcome.DISCARDED,
    "stop": Outcome.UNJUDGED,
}
_ARM, _POLICY, _BUTTON = "arm/state", "policy/status", "teleop/button"


class RecorderNode(StackNode):
    """Bytes in, bytes to the disk; only what an episode has to name is looked into, once."""

    called = "recorder"
    claims = ("record/status",)
    _session: Session
    """From ``configure`` to ``cleanup``."""

    def configure(self) -> None:
        """Take the folder and listen."""
        if self.text(STEPPING) == DETERMINISTIC:
            raise ConfigError(
                "a recording keeps real time, the world does not wait for it: it needs stepping real_time"
            )
        if not (folder := self.text("folder")):
            raise ConfigError("parameter folder must say where the episodes go")
        limits = Limits(
            queue_bytes=self.integer("queue_mib") * _MIB,
            min_free_bytes=self.integer("min_free_mib") * _MIB,
            max_duration_s=self.number("max_duration_s"),
        )
        calibration = self.text("calibration")
        self._calibration_hash = file_hash(Path(calibration)) if calibration else ""
        self._session = Session(Path(folder).expanduser(), limits)
        self._active, self._reason, self._silent = False, "", ""
        self._newest: dict[str, RawMessage] = {}
        self._pictures: dict[str, str] = {}
        self._heard_s: dict[str, float] = {}
        self._known: set[str] = set()
        self._looks = 0
        self._status = self.create_publisher(RecordStatus, "record/status", LATCHED)
        for topic, datatype in FIXED.items():
            self._listen(topic, datatype, reliable=True)
        self.create_service(Trigger, "record/start", self._on_start)
        for name, outcome in _ENDS.items():
            self.create_service(Trigger, f"record/{name}", partial(self._on_end, outcome=outcome))
        self._timer = self.create_timer(_LOOK_S, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))
        if left := self._session.cut_off():
            self.get_logger().warning(
                f"{', '.join(left)} in {folder} was cut off; save what there is: d2ppo data salvage {folder}"
            )

    def activate(self) -> None:
        """Begin to take starts."""
        self._active = True
        self._publish()

    def deactivate(self) -> None:
        """End the episode that runs."""
        self._active = False
        if self._session.is_recording:
            self._end(Outcome.UNJUDGED, "recorder stopped")

    def cleanup(self) -> None:
        """Let the folder go."""
        self._session.close()

    # --- what is heard ---------------------------------------------------------------------------------------------

    def _listen(self, topic: str, datatype: str, *, reliable: bool) -> None:
        self._known.add(topic)
        quality = QoSProfile(
            depth=30 if datatype == PICTURES else 200,
            reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        )
        if topic in LATCHED_TOPICS:
            quality = LATCHED
        take = partial(self._on_message, channel=Channel(topic, datatype), stamped=starts_with_header(datatype))
        self.create_subscription(type_named(datatype), topic, take, quality, raw=True)

    def _find_cameras(self) -> None:
        """Listen to cameras as they appear; one that only offers best effort is heard all the same."""
        space = self.get_namespace().rstrip("/")
        for topic, datatype in topics_of_cameras(space, self.get_topic_names_and_types()):
            offers = self.get_publishers_info_by_topic(f"{space}/{topic}")
            if topic not in self._known and offers:
                reliable = all(offer.qos_profile.reliability == ReliabilityPolicy.RELIABLE for offer in offers)
                self._listen(topic, datatype, reliable=reliable)

    def _on_message(self, data: bytes, *, channel: Channel, stamped: bool) -> None:
        received_ns = self.now_ns()
        stamp_ns = header_stamp_ns(data) if stamped else received_ns
        message = RawMessage(channel, data, received_ns, stamp_ns)
        self._session.put(message)
        topic = channel.topic
        if channel.datatype == PICTURES:
            self._heard_s[topic] = time.monotonic()
            if topic not in self._pictures:
                picture = deserialize_message(data, Image)
                self._pictures[topic] = f"{picture.width}x{picture.height} {picture.encoding}"
        elif topic in LATCHED_TOPICS or topic == _ARM:
            self._newest[topic] = message
        elif topic == _BUTTON and self._active:
            self._press(deserialize_message(data, String).data)

    def _press(self, button: str) -> None:
        """Serve a device's buttons, as the services."""
        try:
            if button == Button.EPISODE and not self._session.is_recording:
                self._start()
            elif button == Button.EPISODE:
                self._end(Outcome.UNJUDGED, "button")
            elif button in (Button.SUCCESS, Button.FAILURE, Button.DISCARD):
                self._end(_ENDS[button], "button")
        except RecordingError as error:
            self._refuse(str(error))

    # --- episodes --------------------------------------------------------------------------------------------------

    def _setup(self) -> dict[str, Any]:
        """What all episodes of a folder share."""
        now_s = time.monotonic()
        seen = {topic: size for topic, size in self._pictures.items() if now_s - self._heard_s[topic] < _SILENT_S}
        arm = self._newest.get(_ARM)
        return {
            "namespace": self.get_namespace().strip("/"),
            "task": self.text("task"),
            "robot": self.text("robot"),
            "cell": self.text("cell"),
            "base_frame": deserialize_message(arm.data, ArmState).header.frame_id if arm else "",
            "cameras": {source_of(topic): size for topic, size in sorted(seen.items())},
        }

    def _start(self) -> str:
        if not self._active:
            raise RecordingError("the recorder is not active")
        if self._looks < _LOOKS:
            raise RecordingError("cameras are still being looked for: start again in a second")
        if _ARM not in self._newest:
            raise RecordingError("no arm says how it is: there is nothing to record yet")
        status = self._newest.get(_POLICY)
        policy = deserialize_message(status.data, PolicyStatus) if status else PolicyStatus()
        versions = {package: version(package) for package in ("d2ppo-panda", "mcap")}
        name = self._session.start(
            self.now_ns(),
            self._setup(),
            bundle_name=policy.bundle_name,
            bundle_hash=policy.bundle_hash,
            calibration_hash=self._calibration_hash,
            versions=versions | {"python": sys.version.split()[0]},
        )
        for topic in LATCHED_TOPICS:
            if topic in self._newest:
                self._session.put(self._newest[topic])
        self._reason = ""
        self.get_logger().info(f"{name} begins")
        self._publish()
        return f"{name} begins"

    def _end(self, outcome: Outcome, cause: str) -> str:
        try:
            facts = self._session.end(outcome, cause, self.now_ns())
        finally:
            self._reason = self._session.failure
            self._publish()
        lost = f", {sum(facts.lost.values())} messages lost: the disk is too slow" if facts.lost else ""
        text = f"{facts.name}: {outcome}, {facts.duration_s:.1f} s, {facts.stop_cause}{lost}"
        self._reason = text
        self.get_logger().info(text)
        self._publish()
        return text

    def _on_start(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return self._answer(response, self._start)

    def _on_end(self, _: Trigger.Request, response: Trigger.Response, *, outcome: Outcome) -> Trigger.Response:
        return self._answer(response, lambda: self._end(outcome, "operator"))

    def _answer(self, response: Trigger.Response, act: Any) -> Trigger.Response:
        try:
            response.success, response.message = True, act()
        except RecordingError as error:
            response.success, response.message = False, str(error)
            self._refuse(str(error))
        return response

    def _refuse(self, reason: str) -> None:
        self.get_logger().error(reason)
        self._reason = reason
        self._publish()

    def _look(self) -> None:
        self._find_cameras()
        self._looks += 1
        if cause := self._session.due(self.now_ns()):
            try:
                self._end(Outcome.UNJUDGED, cause)
            except RecordingError as error:
                self._refuse(str(error))
        self._notice_silence()
        self._publish()

    def _notice_silence(self) -> None:
        now_s = time.monotonic()
        silent = [topic for topic, heard_s in self._heard_s.items() if now_s - heard_s > _SILENT_S]
        self._silent = f"no pictures on {', '.join(sorted(silent))}" if silent else ""
        if self._silent and self._session.is_recording:
            self.get_logger().warning(f"{self._session.episode}: {self._silent}", throttle_duration_sec=5.0)

    def _publish(self) -> None:
        session, writer = self._session, self._session.writer
        facts, now_ns = session.facts, self.now_ns()
        state = RecordStatus.FAILED if session.failure else RecordStatus.IDLE
        status = RecordStatus(
            state=RecordStatus.RECORDING if session.is_recording else state,
            reason=self._reason or self._silent,
            folder=str(session.root),
            episode=session.episode,
            outcome=facts.outcome if facts else "",
            duration_s=session.duration_s(now_ns),
            messages=sum((writer.counts if writer else facts.messages if facts else {}).values()),
            lost=sum((writer.lost if writer else facts.lost if facts else {}).values()),
            written_bytes=writer.size_bytes if writer else 0,
            free_bytes=free_bytes_at(session.root),
            episodes=session.episodes,
        )
        status.header.stamp = time_msg(now_ns)
        self._status.publish(status)


def main() -> None:
    """Run the node."""
    sys.exit(run(RecorderNode))


if __name__ == "__main__":
    main()
