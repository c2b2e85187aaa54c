"""Policy node: camera images, object poses and the arm's state in, timed chunks of absolute targets out."""

import secrets
import sys
from functools import partial

import numpy as np
from rclpy.subscription import Subscription
from sensor_msgs.msg import Image

from d2ppo_core.bundle import load_bundle
from d2ppo_core.errors import ActionError, D2ppoError
from d2ppo_core.runtime.inference.callback_clock import CallbackClock
from d2ppo_core.runtime.inference.observation import MissingObservationError
from d2ppo_core.runtime.inference.planner import ChunkPlanner, PlannerConfig
from d2ppo_core.runtime.inference.policy import Policy
from d2ppo_interfaces.msg import ActionChunk, ArmState, ObjectPoses, PolicyStatus
from d2ppo_interfaces.srv import LoadPolicy
from d2ppo_nodes.convert import arm_sample, fill_targets, image_array, sightings_of, time_msg, time_ns
from d2ppo_nodes.guarded import describe
from d2ppo_nodes.lifecycle import StackNode
from d2ppo_nodes.qos import LATCHED, NEWEST, SENSOR
from d2ppo_nodes.running import run
from d2ppo_nodes.setting import bundle_of, check_fit, image_topic

_STATUS_PERIOD_S = 0.5


class PolicyNode(StackNode):
    """Messages to the planner and back; one inference per chunk, in the callback of what was seen and makes it due."""

    called = "policy"
    claims = ("policy/status",)

    def __init__(self) -> None:
        """Create the node unconfigured."""
        super().__init__()
        self._active = False
        self._sequence = 0
        self._arm_frame = ""
        self._missing = self._source = ""
        self._followed = False
        self._received_ns = 0
        self._clock_here = CallbackClock(self.now_ns)
        self._cameras: list[Subscription] = []

    def configure(self) -> None:
        """Load the bundle, verify it and create the interfaces."""
        self._planner = self._load(bundle_of(self))
        self._frame = self.text("base_frame")
        self._chunk_pub = self.create_publisher(ActionChunk, "policy/chunk", NEWEST)
        self._status_pub = self.create_publisher(PolicyStatus, "policy/status", LATCHED)
        self.create_subscription(ArmState, "arm/state", self._on_arm, SENSOR)
        self.create_subscription(ObjectPoses, "perception/objects", self._on_objects, SENSOR)
        self.create_service(LoadPolicy, "policy/load", self._on_load)
        self._subscribe_cameras()
        self._status_timer = self.create_timer(_STATUS_PERIOD_S, self._publish_status)

    def _load(self, bundle: str) -> ChunkPlanner:
        config = PlannerConfig(
            replan_ticks=self.integer("replan_ticks"),
            settle_ticks=self.integer("settle_ticks"),
            max_lead_m=self.number("max_lead_m"),
            max_lead_rad=self.number("max_lead_rad"),
            noise_seed=self.integer("noise_seed"),
        )
        loaded = load_bundle(bundle)
        check_fit(self, loaded.manifest)
        planner = ChunkPlanner(Policy(loaded, self.text("device")), config)
        name, provider = planner.policy.manifest.name, planner.policy.provider
        self.get_logger().info(f"bundle {name} ({planner.policy.bundle.hash}) on {provider}")
        return planner

    def _subscribe_cameras(self) -> None:
        names = self._planner.policy.manifest.cameras
        before, self._cameras = (
            self._cameras,
            [
                self.create_subscription(Image, image_topic(name), partial(self._on_image, camera=name), SENSOR)
                for name in names
            ],
        )
        for subscription in before:
            self.destroy_subscription(subscription)

    def activate(self) -> None:
        """Begin to plan."""
        self._active, self._sequence = True, 0
        self._source = f"{self.get_fully_qualified_name()} {secrets.token_hex(4)}"

    def deactivate(self) -> None:
        """Stop planning; the arm's watchdog brings it to rest."""
        self._active = False
        self._publish_status()

    def cleanup(self) -> None:
        """Let the bundle go."""
        self._cameras = []
        del self._planner

    def _on_arm(self, message: ArmState) -> None:
        self._followed = message.state in (ArmState.RUNNING, ArmState.HOLDING)
        # Without a robot there is no pose to plan from; the arm says so itself.
        if message.state != ArmState.DISCONNECTED and message.robot_time_ms > 0:
            self._arm_frame = message.header.frame_id
            self._planner.observations.push_arm(arm_sample(message))
            if not (self._cameras or self._planner.observations.object_names):
                self._received_ns = self._clock_here.begin(time_ns(message.header.stamp))
                self._plan()

    def _on_image(self, message: Image, *, camera: str) -> None:
        stamp_ns = time_ns(message.header.stamp)
        self._received_ns = self._clock_here.begin(stamp_ns)
        try:
            self._planner.observations.push_image(camera, stamp_ns, image_array(message))
        except ValueError as error:
            self.get_logger().error(f"image of camera {camera} dropped: {error}", throttle_duration_sec=1.0)
            return
        self._plan()

    def _on_objects(self, message: ObjectPoses) -> None:
        if not (self._arm_frame and self._planner.observations.object_names):
            return  # nothing can be planned without the arm, or by a policy that looks at pictures
        self._received_ns = self._clock_here.begin(time_ns(message.header.stamp))
        try:
            self._planner.observations.push_objects(sightings_of(message, self._arm_frame))
        except ValueError as error:
            self.get_logger().error(f"objects of {message.source!r} dropped: {error}", throttle_duration_sec=1.0)
            return
        self._plan()

    def _plan(self) -> None:
        if not self._active:
            return
        began_ns = self._clock_here.now_ns()
        try:
            plan = self._planner.plan(began_ns)
        except (MissingObservationError, ActionError) as error:
            self._miss(str(error))
            return
        except Exception as error:
            self._missing = f"the policy failed: {describe(error)}"
            raise  # to the log
        self._missing = ""
        if plan is None:
            return
        chunk = ActionChunk(
            sequence=self._sequence,
            epoch=plan.observation.arm.epoch,
            bundle_hash=self._planner.policy.bundle.hash,
            source=self._source,
            received=time_msg(self._received_ns),
            inference_start=time_msg(began_ns),
            inference_end=time_msg(self._clock_here.now_ns()),
            inference_wall_s=plan.inference_s,
        )
        chunk.header.stamp = time_msg(plan.observation.stamp_ns)
        chunk.header.frame_id = self._frame or self._arm_frame
        fill_targets(chunk, plan.targets)
        chunk.published = time_msg(self._clock_here.now_ns())
        self._chunk_pub.publish(chunk)
        self._sequence += 1

    def _publish_status(self) -> None:
        if self._active:
            self._check_age()
        policy, times = self._planner.policy, self._planner.inference_s
        p50, p99 = np.percentile(times, (50, 99)) if times else (0.0, 0.0)
        state = PolicyStatus.INACTIVE
        if self._active:
            state = PolicyStatus.STARVED if self._missing else PolicyStatus.ACTIVE
        status = PolicyStatus(
            state=state,
            reason=self._missing,
            bundle_name=policy.manifest.name,
            bundle_hash=policy.bundle.hash,
            provider=policy.provider,
            sequence=self._sequence,
            inference_p50_s=float(p50),
            inference_p99_s=float(p99),
        )
        status.header.stamp = time_msg(self.now_ns())
        self._status_pub.publish(status)

    def _check_age(self) -> None:
        """Notice an observation that stopped: then no callback comes that would."""
        try:
            self._planner.observations.assemble(self.now_ns())
        except MissingObservationError as error:
            self._miss(str(error))

    def _miss(self, reason: str) -> None:
        """Say in the status why there is no chunk, and log it as well while the arm wants one."""
        self._missing = reason
        if self._followed:
            self.get_logger().warning(f"no chunk: {reason}", throttle_duration_sec=1.0)

    def _on_load(self, request: LoadPolicy.Request, response: LoadPolicy.Response) -> LoadPolicy.Response:
        try:
            self._planner = self._load(request.bundle_path)
            self._subscribe_cameras()
            self._publish_status()  # the arm follows another bundle only once it is announced
            response.success, response.message = True, f"running {self._planner.policy.manifest.name}"
        except D2ppoError as error:
            response.success, response.message = False, str(error)
            self.get_logger().error(f"bundle refused, the old one goes on: {error}")
        response.bundle_hash = self._planner.policy.bundle.hash
        return response


def main() -> None:
    """Run the node."""
    sys.exit(run(PolicyNode))


if __name__ == "__main__":
    main()
