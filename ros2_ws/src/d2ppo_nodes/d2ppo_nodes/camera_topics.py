"""What a camera node publishes: the camera's own picture, and the part of it that its policy sees."""

import array

import numpy as np
import numpy.typing as npt
from rclpy.node import Node
from rclpy.publisher import Publisher
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from d2ppo_core.calibrated import Intrinsics
from d2ppo_core.runtime.inference.view import View
from d2ppo_nodes.convert import image_msg, jpeg, time_msg
from d2ppo_nodes.qos import STREAM
from d2ppo_nodes.setting import image_topic, policy_topic


class CameraTopics:
    """Makes and sends a picture only where somebody listens, so that one more topic costs nothing."""

    def __init__(self, node: Node, name: str, view: View, lens: Intrinsics | None, *, jpeg_quality: int) -> None:
        """Create the publishers.

        Args:
            node: of the camera.
            name: of the camera on the graph.
            view: from its own pictures to the policy's.
            lens: of its own pictures; None: nobody knows.
            jpeg_quality: of the compressed topic; 0: there is none.
        """
        own, policy = image_topic(name), policy_topic(name)
        self._view, self._frame_id = view, f"{name}_color_optical_frame"
        self._own_pub = node.create_publisher(Image, own, STREAM)
        self._policy_pub = node.create_publisher(Image, policy, STREAM)
        infos = {own: info_msg(lens, view.camera_hw)}
        infos[policy] = info_msg(view.intrinsics(lens) if lens is not None else None, view.policy_hw)
        self._infos = [
            (node.create_publisher(CameraInfo, topic.replace("image_raw", "camera_info"), STREAM), info)
            for topic, info in infos.items()
        ]
        for _, info in self._infos:
            info.header.frame_id = self._frame_id
        self._jpeg_quality = jpeg_quality
        self._jpeg_pub: Publisher | None = (
            node.create_publisher(CompressedImage, f"{own}/compressed", STREAM) if jpeg_quality else None
        )

    def publish(self, image: npt.NDArray[np.uint8], stamp_ns: int, *, awaited: bool) -> None:
        """Send a picture of the camera.

        Args:
            image: (height, width, 3) RGB of the camera's own size.
            stamp_ns: when it was captured.
            awaited: whether the policy's must not be left out, though nobody seems to listen yet.
        """
        small = None
        if awaited or self._policy_pub.get_subscription_count():
            small = image_msg(self._view.apply(image), stamp_ns, self._frame_id)
            self._policy_pub.publish(small)
        if self._own_pub.get_subscription_count():
            same = small is not None and self._view.camera_hw == self._view.policy_hw
            self._own_pub.publish(small if same else image_msg(image, stamp_ns, self._frame_id))
        for publisher, info in self._infos:
            if publisher.get_subscription_count():
                info.header.stamp = time_msg(stamp_ns)
                publisher.publish(info)
        if self._jpeg_pub is not None and self._jpeg_pub.get_subscription_count():
            self._jpeg_pub.publish(jpeg_msg(image, stamp_ns, self._frame_id, self._jpeg_quality))


def info_msg(lens: Intrinsics | None, hw: tuple[int, int]) -> CameraInfo:
    """Describe a lens; one that nobody knows is all zero, which ROS takes for not calibrated."""
    height, width = hw
    info = CameraInfo(width=width, height=height, distortion_model="plumb_bob")
    if lens is not None:
        k = lens.K_camera
        info.d = lens.coefficients.tolist()
        info.k = k.ravel()
        info.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
        info.p = [*k[0], 0.0, *k[1], 0.0, *k[2], 0.0]
    return info


def jpeg_msg(image: npt.NDArray[np.uint8], stamp_ns: int, frame_id: str, quality: int) -> CompressedImage:
    """Compress an (H, W, 3) RGB image, as `image_transport` names it."""
    message = CompressedImage(format="rgb8; jpeg compressed bgr8")
    message.header.stamp, message.header.frame_id = time_msg(stamp_ns), frame_id
    message.data = array.array("B", jpeg(image, quality))
    return message
