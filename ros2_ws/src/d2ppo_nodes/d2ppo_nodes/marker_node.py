"""Marker node: a camera's pictures in, poses of the objects that wear markers out, on `perception/objects`."""

import sys

import numpy as np
from rclpy.publisher import Publisher
from sensor_msgs.msg import CameraInfo, Image

from d2ppo_core.errors import ConfigError
from d2ppo_core.geometry import Array, transform_from
from d2ppo_core.runtime.inference.missing import MissingObservationError
from d2ppo_core.runtime.inference.sightings import Sightings
from d2ppo_core.runtime.perception.finder import Found, MarkerFinder
from d2ppo_core.runtime.perception.markers import load_markers
from d2ppo_core.runtime.perception.mount import HAND, Mount, unit_rotation
from d2ppo_interfaces.msg import ArmState, ObjectPoses
from d2ppo_nodes.convert import image_array, objects_msg, time_ns, transform_of
from d2ppo_nodes.lifecycle import StackNode
from d2ppo_nodes.qos import SENSOR, STREAM
from d2ppo_nodes.running import run
from d2ppo_nodes.setting import image_topic, task_of


class MarkerNode(StackNode):
    """One picture, one message; an object that is not found is left out, and the log says why."""

    called = "marker"
    _publisher: Publisher
    """From ``configure`` to ``cleanup``."""

    def configure(self) -> None:
        """Read the files and create the interfaces."""
        bounds = self.number("max_std_m"), self.number("max_std_rad")
        self._finder = MarkerFinder(load_markers(self.text("markers")), *bounds)
        self._camera = self.text("camera")
        self._mount = self._mounted()
        self._frame = self.text("base_frame")
        self._arm_frame = ""
        self._lens: tuple[Array, Array] | None = None
        self._missing: dict[str, str] = {}
        self._active = False
        self._publisher = self.create_publisher(ObjectPoses, "perception/objects", STREAM)
        self.create_subscription(ArmState, "arm/state", self._on_arm, SENSOR)
        topic = image_topic(self._camera)
        self.create_subscription(CameraInfo, topic.replace("image_raw", "camera_info"), self._on_info, SENSOR)
        self.create_subscription(Image, topic, self._on_image, SENSOR)

    def activate(self) -> None:
        """Begin to look."""
        self._active = True

    def deactivate(self) -> None:
        """Look away."""
        self._active = False

    def _mounted(self) -> Mount:
        numbers = self.numbers("camera_pose")
        if numbers:
            pose = transform_from(numbers[:3], unit_rotation(numbers[3:]))
            return Mount(self.text("mounted_on"), pose)
        task = task_of(self)
        if task is None:
            raise ConfigError("parameter camera_pose must say where the camera is: x, y, z and quaternion x, y, z, w")
        from sim.world.marked import camera_mount

        return camera_mount(task, self._camera)

    def _on_arm(self, message: ArmState) -> None:
        if message.state != ArmState.DISCONNECTED and message.robot_time_ms > 0:
            self._arm_frame = message.header.frame_id
            if self._mount.on == HAND:
                self._mount.push_hand(time_ns(message.header.stamp), transform_of(message.pose))

    def _on_info(self, message: CameraInfo) -> None:
        if message.k[0] <= 0.0:
            self.get_logger().warning(f"the lens of camera {self._camera} is unknown", throttle_duration_sec=5.0)
            return
        self._lens = np.asarray(message.k, float).reshape(3, 3), np.asarray(message.d, float)

    def _on_image(self, message: Image) -> None:
        frame_id = self._frame or self._arm_frame
        if not self._active or self._lens is None or not frame_id:
            return
        stamp_ns = time_ns(message.header.stamp)
        try:
            found = self._finder.find(image_array(message), *self._lens)
        except ValueError as error:
            self.get_logger().error(f"a picture is dropped: {error}", throttle_duration_sec=1.0)
            return
        self._tell(found)
        try:
            T_base_camera = self._mount.pose_at(stamp_ns)
        except MissingObservationError as error:
            self.get_logger().warning(f"a picture is passed over: {error}", throttle_duration_sec=1.0)
            return
        turned = np.kron(np.eye(2), T_base_camera[:3, :3])
        poses = {name: T_base_camera @ estimate.pose for name, estimate in found.poses.items()}
        covariances = {name: turned @ estimate.covariance @ turned.T for name, estimate in found.poses.items()}
        sightings = Sightings(stamp_ns=stamp_ns, source=f"markers of {self._camera}", poses=poses)
        self._publisher.publish(objects_msg(sightings, frame_id, covariances))

    def _tell(self, found: Found) -> None:
        """Log what went out of sight since the picture before, and what came back."""
        for name, reason in found.missing.items():
            if name not in self._missing:
                self.get_logger().warning(f"object {name} is not reported: {reason}", throttle_duration_sec=1.0)
        for name in self._missing.keys() & found.poses.keys():
            self.get_logger().info(f"object {name} is in sight again", throttle_duration_sec=1.0)
        self._missing = found.missing


def main() -> None:
    """Run the node."""
    sys.exit(run(MarkerNode))


if __name__ == "__main__":
    main()
