"""The simulated world's objects on `perception/objects`, as exact or as flawed as somebody wants them."""

from d2ppo_core.runtime.inference.sightings import Sightings
from d2ppo_core.stack.stepping import DETERMINISTIC, STEPPING
from d2ppo_interfaces.msg import ObjectPoses
from d2ppo_nodes.convert import objects_msg
from d2ppo_nodes.lifecycle import StackNode
from d2ppo_nodes.qos import STREAM
from sim.world.sight import Flaws, ObjectSight
from sim.world.world import World

_SOURCE = "sim"


class ObjectTruth:
    """Looks at the world as often as its cameras do; `on_step` is called each millisecond, in the world's thread."""

    def __init__(self, node: StackNode, world: World, period_ns: int) -> None:
        """Create the publisher; poses are in the base frame of the first arm, whose name its robot gives."""
        self._node, self._period_ns = node, period_ns
        self._in_step = node.text(STEPPING) == DETERMINISTIC
        self._sight = ObjectSight(world, node.text("objects_seen_from"))
        prefix = f"{world.task.arms[0]}_" if len(world.arms) > 1 else ""
        self._frame_id = f"{prefix}{world.robot}_link0"
        self._publisher = node.create_publisher(ObjectPoses, "perception/objects", STREAM)

    def on_step(self, world: World) -> None:
        """Look when it is time to, and report what is due."""
        if world.time_ns % self._period_ns == 0:
            self._sight.look(self._flaws())
        for report in self._sight.due():
            sightings = Sightings(
                stamp_ns=report.stamp_ns, source=_SOURCE, poses=report.poses, touching=report.touching
            )
            covariances = dict.fromkeys(report.poses, report.covariance)
            self._publisher.publish(objects_msg(sightings, self._frame_id, covariances))

    def _flaws(self) -> Flaws:
        number = self._node.number
        if self._in_step and number("objects_delay_s") > 0.0:
            self._node.get_logger().warning(
                "objects_delay_s does nothing in deterministic stepping; declare the policy's image_latency_ms",
                throttle_duration_sec=10.0,
            )
        hidden = frozenset(filter(None, (name.strip() for name in self._node.text("objects_hidden").split(","))))
        if unknown := hidden - self._sight.names:
            known = ", ".join(sorted(self._sight.names)) or "no objects"
            self._node.get_logger().warning(
                f"objects_hidden names {', '.join(sorted(unknown))}; this world has {known}", throttle_duration_sec=10.0
            )
        return Flaws(
            noise_m=number("objects_noise_m"),
            noise_rad=number("objects_noise_rad"),
            delay_s=0.0 if self._in_step else number("objects_delay_s"),
            lost_share=number("objects_lost"),
            hidden=hidden,
        )
