"""Policy node: camera images, object poses and the arm's state in, timed chunks of absolute targets out."""

import secrets
import sys
from functools import partial

import numpy as np
from rcl_interfaces.msg import SetParametersResult
from rclpy.parameter import Parameter
from rclpy.subscription import Subscription
from sensor_msgs.msg import Image

from d2ppo_core.bundle import load_bundle
from d2ppo_core.errors import ActionError, ConfigError, D2ppoError
from d2ppo_core.runtime.inference.callback_clock import CallbackClock
from d2ppo_core.runtime.inference.latency import latencies
from d2ppo_core.runtime.inference.observation import MissingObservationError, Used
from d2ppo_core.runtime.inference.planner import ChunkPlanner, PlannerConfig
from d2ppo_core.runtime.inference.policy import Policy
from d2ppo_interfaces.msg import ActionChunk, ArmState, ObjectPoses, PolicyStatus
from d2ppo_interfaces.srv import LoadPolicy
from d2ppo_nodes.convert import arm_sample, image_array, sightings_of, time_msg, time_ns
from d2ppo_nodes.driven import DrivenArm, any_followed, arm_names
from d2ppo_nodes.guarded import describe
from d2ppo_nodes.health import Health, Told
from d2ppo_nodes.in_step import PolicyInStep, member_of
from d2ppo_nodes.lifecycle import StackNode
from d2ppo_nodes.qos import EVERY, LATCHED, NEWEST, SENSOR
from d2ppo_nodes.running import run
from d2ppo_nodes.setting import bundle_of, check_fit, policy_topic
from d2ppo_nodes.swapping import Swapping

_STATUS_PERIOD_S = 0.5
NOISE_SEED = "noise_seed"
OBJECTS = "perception/objects"
"""Among what a frame consists of, beside the cameras' names."""


class PolicyNode(StackNode):
    """Messages to the planner and back; one inference per chunk, in the callback of what was seen and makes it due."""

    called = "policy"
    claims = ("policy/status",)

    def __init__(self) -> None:
        """Create the node unconfigured."""
        super().__init__()
        self._active = False
        self._sequence = 0
        self._arms: list[DrivenArm] = []
        self._missing = self._source = ""
        self._received_ns = self._seen_ns = 0
        self._is_new = False
        self._clock_here = CallbackClock(self.now_ns)
        self._cameras: list[Subscription] = []
        self._used: tuple[Used, ...] = ()
        self.add_on_set_parameters_callback(self._on_parameters)

    def configure(self) -> None:
        """Load the bundle, verify it and create the interfaces."""
        self._in_step = self._step_in()
        self._names = arm_names(self)
        self._planner = self._load(bundle_of(self))
        self._frame = self.text("base_frame")
        if self._frame and len(self._names) > 1:
            raise ConfigError("parameter base_frame is for one arm; of several each has its own")
        sending = NEWEST if self._in_step is None else EVERY
        self._arms = [
            DrivenArm(self, name, partial(self._on_arm, number=number), self._hearing, sending)
            for number, name in enumerate(self._names or ("",))
        ]
        for name in self._names if self._in_step is None else ():  # in step nothing may depend on who speaks first
            DrivenArm.hear_verdicts(self, name, self._on_refusal)
        self._status_pub = self.create_publisher(PolicyStatus, "policy/status", LATCHED)
        self.create_subscription(ObjectPoses, OBJECTS, self._on_objects, self._hearing)
        self.create_service(LoadPolicy, "policy/load", self._on_load)
        self._swapping = Swapping(
            self,
            lambda: self._planner,
            self._publish_status,
            is_active=lambda: self._active,
            in_step=self._in_step is not None,
        )
        self._subscribe_cameras()
        self._health = Health(self, "policy", self._tell_health)
        self._status_timer = self.create_timer(_STATUS_PERIOD_S, self._publish_status)

    def _step_in(self) -> PolicyInStep | None:
        member = member_of(self)
        self._hearing = SENSOR if member is None else EVERY
        if member is None:
            return None
        image_ms, inference_ms = self.number("image_latency_ms"), self.number("inference_latency_ms")
        seed = self.integer(NOISE_SEED)
        return PolicyInStep(member, latencies(image_ms, inference_ms, self.text("latency_ledger"), seed))

    def _load(self, bundle: str) -> ChunkPlanner:
        config = PlannerConfig(
            replan_ticks=self.integer("replan_ticks"),
            settle_ticks=self.integer("settle_ticks"),
            max_lead_m=self.number("max_lead_m"),
            max_lead_rad=self.number("max_lead_rad"),
            noise_seed=self.integer(NOISE_SEED),
            max_age_s=self.number("max_age_ms") * 1e-3,
            max_skew_s=self.number("max_skew_ms") * 1e-3,
        )
        loaded = load_bundle(bundle)
        check_fit(self, loaded.manifest)
        planner = ChunkPlanner(Policy(loaded, self.text("device")), config, self._names)
        name, provider = planner.policy.manifest.name, planner.policy.provider
        self.get_logger().info(f"bundle {name} ({planner.policy.bundle.hash}) on {provider}")
        return planner

    def _subscribe_cameras(self) -> None:
        names = self._planner.policy.manifest.cameras
        before, self._cameras = (
            self._cameras,
            [
                self.create_subscription(Image, policy_topic(name), partial(self._on_image, camera=name), self._hearing)
                for name in names
            ],
        )
        for subscription in before:
            self.destroy_subscription(subscription)
        if self._in_step is not None:
            objects = (OBJECTS,) if self._planner.observations.object_names else ()
            self._in_step.see((*names, *objects), max(1, len(self._names)))

    def activate(self) -> None:
        """Begin to plan."""
        self._active, self._sequence = True, 0
        if self._in_step is not None:
            self._in_step.join()
        self._source = f"{self.get_fully_qualified_name()} {secrets.token_hex(4)}"

    def deactivate(self) -> None:
        """Stop planning; the arm's watchdog brings it to rest."""
        self._active = False
        if self._in_step is not None:
            self._in_step.leave()
        self._publish_status()

    def cleanup(self) -> None:
        """Let the bundle go."""
        self._swapping.close()
        self._cameras, self._arms = [], []
        if self._in_step is not None:
            self._in_step.close()
        del self._planner

    def _on_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        for parameter in parameters:
            if parameter.name == NOISE_SEED and self.is_configured:
                self._planner.restart(parameter.value)
                if self._in_step is not None:
                    self._in_step.restart(parameter.value)
        return SetParametersResult(successful=True)

    def _on_arm(self, message: ArmState, *, number: int) -> None:
        there = self._arms[number].hear(message)
        if there and number < self._planner.policy.manifest.num_arms:
            self._planner.observations.push_arm(arm_sample(message), number)
        if self._in_step is not None:
            self._in_step.order.push_arm(time_ns(message.header.stamp), number)
            self._plan_in_order()
        elif there:
            self._plan_by_state(time_ns(message.header.stamp))

    def _on_refusal(self, sequence: int) -> None:
        """Plan anew at once: no arm follows a plan that one of them refuses."""
        if any_followed(self._arms) and sequence + 1 == self._sequence:
            self._planner.retry()

    def _plan_by_state(self, stamp_ns: int) -> None:
        """Plan without pictures: by every state of the arm, or by the first that is no older than what was seen.

        Of several arms, once the last of them has told that state.
        """
        waits, told_ns = bool(self._planner.observations.object_names), self._planner.observations.arms_ns
        if self._cameras or stamp_ns > told_ns or (waits and (not self._is_new or told_ns < self._seen_ns)):
            return
        received_ns = self._clock_here.begin(stamp_ns)
        if not waits:
            self._received_ns = received_ns
        self._is_new = False
        self._plan()

    def _on_image(self, message: Image, *, camera: str) -> None:
        stamp_ns = time_ns(message.header.stamp)
        if self._in_step is not None:
            self._in_step.order.push(camera, stamp_ns, message)
            self._plan_in_order()
            return
        self._received_ns = self._clock_here.begin(stamp_ns)
        if self._see(camera, message):
            self._plan()

    def _see(self, camera: str, message: Image) -> bool:
        try:
            self._planner.observations.push_image(camera, time_ns(message.header.stamp), image_array(message))
        except ValueError as error:
            self.get_logger().error(f"image of camera {camera} dropped: {error}", throttle_duration_sec=1.0)
            return False
        return True

    def _on_objects(self, message: ObjectPoses) -> None:
        if not self._planner.observations.object_names:
            return
        stamp_ns = time_ns(message.header.stamp)
        if self._in_step is not None:
            self._in_step.order.push(OBJECTS, stamp_ns, message)
            self._plan_in_order()
        elif self._arms[0].frame:  # nothing can be planned without the arm
            self._received_ns = self._clock_here.begin(stamp_ns)
            if self._locate(message):  # the arm's state of that time is on its way
                self._seen_ns, self._is_new = stamp_ns, True

    def _locate(self, message: ObjectPoses) -> bool:
        try:
            self._planner.observations.push_objects(sightings_of(message, self._arms[0].frame))
        except ValueError as error:
            self.get_logger().error(f"objects of {message.source!r} dropped: {error}", throttle_duration_sec=1.0)
            return False
        return True

    def _plan_in_order(self) -> None:
        """Plan by every frame that is complete, with the latency that was declared, and tell the world."""
        in_step = self._in_step
        if in_step is None:
            return
        for stamp_ns, frame in in_step.order.ready():
            latency, before = in_step.latencies.draw(), self._sequence
            seen = [
                self._locate(part) if source == OBJECTS else self._see(source, part) for source, part in frame.items()
            ]
            try:
                if all(seen):
                    self._received_ns = stamp_ns + latency.received_ns
                    self._plan(stamp_ns + latency.published_ns)
            finally:
                in_step.done(stamp_ns, chunk=self._sequence > before)

    def _plan(self, published_ns: int = 0) -> None:
        """Plan, from ``received`` to a declared time, or as long as it takes."""
        if not self._active:
            return
        began_ns = self._received_ns if published_ns else self._clock_here.now_ns()
        try:
            if plan := self._planner.plan(began_ns):
                plan = self._swapping.judge(plan)
        except MissingObservationError as error:
            self._miss(str(error))
            return
        except Exception as error:
            if self._swapping.rescue(error):
                self._planner.retry()
                return
            if isinstance(error, ActionError):
                self._miss(str(error))
                return
            self._missing = f"the policy failed: {describe(error)}"
            raise  # to the log
        self._missing = ""
        if plan is None:
            return
        epochs, self._used = plan.observation.epochs, plan.observation.used
        chunk = ActionChunk(
            sequence=self._sequence,
            epochs=epochs if len(epochs) > 1 else (),
            bundle_hash=self._planner.policy.bundle.hash,
            source=self._source,
            received=time_msg(self._received_ns),
            inference_start=time_msg(began_ns),
            inference_end=time_msg(published_ns or self._clock_here.now_ns()),
            inference_wall_s=plan.inference_s,
        )
        chunk.header.stamp = time_msg(plan.observation.stamp_ns)
        chunk.published = time_msg(published_ns or self._clock_here.now_ns())
        for arm, epoch, targets in zip(self._arms, epochs, plan.targets, strict=True):
            arm.send(chunk, epoch, targets, self._frame)
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

    def _tell_health(self) -> Told:
        return self._missing if self._active else "", {used.device: used for used in self._used}

    def _check_age(self) -> None:
        """Notice an observation that stopped: then no callback comes that would."""
        try:
            self._planner.observations.assemble(self.now_ns())
        except MissingObservationError as error:
            self._miss(str(error))

    def _miss(self, reason: str) -> None:
        """Say in the status why there is no chunk, and log it as well while the arm wants one."""
        self._missing = reason
        if any_followed(self._arms):
            self.get_logger().warning(f"no chunk: {reason}", throttle_duration_sec=1.0)

    def _on_load(self, request: LoadPolicy.Request, response: LoadPolicy.Response) -> LoadPolicy.Response:
        try:
            self._planner = self._load(request.bundle_path)
            self._swapping.forget("another bundle was loaded")
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
