"""Camera node: any camera driver in; its own picture, what its policy sees of it, and both lenses out."""

import sys
import threading
from pathlib import Path

from d2ppo_core.drivers.lens import lens_of
from d2ppo_core.errors import CameraError, ConfigError
from d2ppo_core.runtime.inference.view import View
from d2ppo_core.runtime.inference.watched_camera import WatchedCamera
from d2ppo_core.stack.stepping import DRAW
from d2ppo_nodes.camera_drivers import bundle_name, make_driver, policy_size
from d2ppo_nodes.camera_topics import CameraTopics
from d2ppo_nodes.health import Health, Told
from d2ppo_nodes.in_step import member_of
from d2ppo_nodes.lifecycle import StackNode
from d2ppo_nodes.running import run

_READ_TIMEOUT_S = 1.0
_REAL = "realsense", "v4l2"
"""Whose pictures are never the same twice."""


class CameraNode(StackNode):
    """Frames are read and published in a thread of their own; the executor has nothing to do with them."""

    called = "camera"
    _camera: WatchedCamera
    """From ``configure`` to ``cleanup``."""

    def __init__(self) -> None:
        """Create the node unconfigured."""
        super().__init__()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def configure(self) -> None:
        """Open the camera and create the publishers."""
        kind, seen = self.text("driver"), policy_size(bundle_name(self))
        self._camera = WatchedCamera(
            make_driver(self, seen),
            tell=self.get_logger().warning,
            latency_ns=round(self.number("latency_ms") * 1e6),
            frozen_after=self.integer("frozen_frames") if kind in _REAL else 0,
            checked=kind != "sim",
        )
        self._camera.connect()
        self._health = Health(self, f"camera {self._camera.driver.name}", self._tell_health)
        self._member = member_of(self)
        try:
            self._topics = self._make_topics(seen)
        except (CameraError, ConfigError):
            self.cleanup()
            raise

    def _make_topics(self, seen: tuple[int, int] | None) -> CameraTopics:
        driver = self._camera.driver
        width, height = seen or (driver.width, driver.height)
        view = View(camera_hw=(driver.height, driver.width), policy_hw=(height, width))
        lens = driver.intrinsics()
        if self.text("driver") != "sim":  # whose lens is what it draws by
            folder = Path(self.text("calibrations"))
            found = lens_of(folder, driver.name, driver.serial, (driver.width, driver.height), lens)
            self.get_logger().info(found.said)
            lens = found.intrinsics
        return CameraTopics(self, driver.name, view, lens, jpeg_quality=self.integer("jpeg_quality"))

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
        self._camera.close()
        if self._member is not None:
            self._member.close()
        del self._camera

    def _tell_health(self) -> Told:
        camera = self._camera
        values: dict[str, object] = {"frames": camera.frames, "dropped": camera.dropped, "gone": camera.losses}
        clock = getattr(camera.driver, "clock", None)
        if clock is not None:
            values |= {"clock jumps": clock.jumps, "clock drift ppm": f"{clock.drift_ppm:.0f}"}
        return camera.fault, values

    def _run(self) -> None:
        camera = self._camera
        while not self._stop.is_set():
            try:
                frame = camera.next(_READ_TIMEOUT_S)
            except Exception as error:  # a silent thread would look like a camera that stopped
                self.failure = f"camera {camera.driver.name!r} broke down: {type(error).__name__}: {error}"
                self.get_logger().fatal(self.failure)
                return
            if frame is None:
                self.get_logger().warning(camera.fault, throttle_duration_sec=5.0)
                continue
            image, stamp_ns = frame
            self._topics.publish(image, stamp_ns, awaited=self._member is not None)
            if self._member is not None:
                self._member.say(DRAW, stamp_ns)


def main() -> None:
    """Run the node."""
    sys.exit(run(CameraNode))


if __name__ == "__main__":
    main()
