"""Camera node: any camera driver in, `camera/<name>/color/image_raw` and its `camera_info` out."""

import sys
import threading

from sensor_msgs.msg import CameraInfo, Image

from d2ppo_core.bundle import load_bundle
from d2ppo_core.errors import CameraError
from d2ppo_core.runtime.inference.camera import CameraDriver
from d2ppo_core.stack.stepping import DRAW
from d2ppo_nodes.convert import image_msg
from d2ppo_nodes.in_step import member_of
from d2ppo_nodes.lifecycle import StackNode
from d2ppo_nodes.qos import STREAM
from d2ppo_nodes.running import run
from d2ppo_nodes.setting import TASK, seen_camera, task_of

_READ_TIMEOUT_S = 1.0


class CameraNode(StackNode):
    """Frames are read and published in a thread of their own; the executor has nothing to do with them."""

    called = "camera"
    _driver: CameraDriver
    """From ``configure`` to ``cleanup``."""

    def __init__(self) -> None:
        """Create the node unconfigured."""
        super().__init__()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def configure(self) -> None:
        """Open the camera and create the publishers."""
        self._driver = self._make_driver()
        self._driver.connect()
        name = self._driver.name
        self._member = member_of(self)
        self._info = self._camera_info(self._driver)
        self._image_pub = self.create_publisher(Image, f"camera/{name}/color/image_raw", STREAM)
        self._info_pub = self.create_publisher(CameraInfo, f"camera/{name}/color/camera_info", STREAM)

    def activate(self) -> None:
        """Publish frames."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name="camera", daemon=True)
        self._thread.start()
        if self._member is not None:
            self._member.join(DRAW)

    def deactivate(self) -> None:
        """Stop publishing."""
        if self._member is not None:
            self._member.leave()
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def cleanup(self) -> None:
        """Release the camera."""
        self._driver.close()
        if self._member is not None:
            self._member.close()
        del self._driver

    def _make_driver(self) -> CameraDriver:
        driver = self.text("driver")
        bundle = self._bundle()
        width, height = self._image_size(bundle)
        if driver == "sim":
            from sim.world.camera import SimCamera

            return SimCamera(
                name=self.text("name") or seen_camera(self, bundle),
                width=width,
                height=height,
                task=self.text("task") or TASK,
                camera=self.text("camera"),
                robot_address=self.text("robot_address"),
                markers=self.text("markers"),
            )
        from d2ppo_core.drivers.realsense import RealSenseCamera, RealSenseConfig

        return RealSenseCamera(
            RealSenseConfig(
                name=self.text("name") or "wrist",
                width=width,
                height=height,
                serial=self.text("serial"),
                stream_width=self.integer("stream_width"),
                stream_height=self.integer("stream_height"),
                stream_hz=self.integer("stream_hz"),
            )
        )

    def _bundle(self) -> str:
        """The bundle that was named, or else a simulated task's; empty for none."""
        task = task_of(self) if self.text("driver") == "sim" else None
        return self.text("bundle") or (task.bundle if task else "")

    def _image_size(self, bundle: str) -> tuple[int, int]:
        """Width and height as asked for, or else as the bundle's policy was trained with."""
        width = self.integer("width")
        height = self.integer("height")
        if width and height:
            return width, height
        cameras = load_bundle(bundle).manifest.image_observations if bundle else ()
        trained = cameras[0].shape if cameras else (96, 96, 3)
        return width or trained[1], height or trained[0]

    def _camera_info(self, driver: CameraDriver) -> CameraInfo:
        k = driver.intrinsics()
        info = CameraInfo(width=driver.width, height=driver.height, distortion_model="plumb_bob")
        info.header.frame_id = f"{driver.name}_color_optical_frame"
        info.d = [0.0] * 5
        info.k = k.ravel()
        info.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
        info.p = [*k[0], 0.0, *k[1], 0.0, *k[2], 0.0]
        return info

    def _run(self) -> None:
        driver, frame_id = self._driver, self._info.header.frame_id
        while not self._stop.is_set():
            try:
                image, stamp_ns = driver.read(_READ_TIMEOUT_S)
            except CameraError as error:
                self.get_logger().warning(str(error), throttle_duration_sec=5.0)
                continue
            except Exception as error:  # a silent thread would look like a camera that stopped
                self.failure = f"camera {driver.name!r} broke down: {type(error).__name__}: {error}"
                self.get_logger().fatal(self.failure)
                return
            message = image_msg(image, stamp_ns, frame_id)
            self._info.header.stamp = message.header.stamp
            self._image_pub.publish(message)
            self._info_pub.publish(self._info)
            if self._member is not None:
                self._member.say(DRAW, stamp_ns)


def main() -> None:
    """Run the node."""
    sys.exit(run(CameraNode))


if __name__ == "__main__":
    main()
