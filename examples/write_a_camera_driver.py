"""Write a driver for a camera that the project does not know: eight members, no base class.

python examples/write_a_camera_driver.py
"""

import math
import time

import numpy as np
import numpy.typing as npt

from d2ppo_core.calibrated import Intrinsics
from d2ppo_core.errors import CameraError
from d2ppo_core.runtime.inference.camera import CameraDriver


class TestPattern:
    """A moving bar at 20 Hz. Replace `connect` and `read` by your vendor's calls; import the vendor's module there."""

    def __init__(self, name: str, width: int, height: int) -> None:
        """Remember the configuration; nothing is opened yet."""
        self.name, self.serial, self.width, self.height = name, "", width, height
        self._next_s: float | None = None

    def connect(self) -> None:
        """Open the camera."""
        if self.width < 8:
            raise CameraError(f"camera {self.name}: wanted at least 8 px of width, got {self.width}")
        self._next_s = time.monotonic()

    def read(self, timeout_s: float) -> tuple[npt.NDArray[np.uint8], int]:
        """Wait for the next frame: (height, width, 3) RGB, and when it was *taken*, in ns of the node's clock."""
        if self._next_s is None:
            raise CameraError(f"camera {self.name} is not connected")
        wait_s = self._next_s - time.monotonic()
        if wait_s > timeout_s:
            raise CameraError(f"camera {self.name}: no frame within {timeout_s} s")
        time.sleep(max(wait_s, 0.0))
        taken_ns = time.time_ns()
        self._next_s += 0.05
        image = np.zeros((self.height, self.width, 3), np.uint8)
        image[:, int(taken_ns // 50_000_000) % self.width] = (255, 128, 0)
        return image, taken_ns

    def intrinsics(self) -> Intrinsics:
        """A pinhole with 60 degrees of view; None if your camera does not know its lens."""
        focal_px = 0.5 * self.width / math.tan(math.radians(30.0))
        return Intrinsics(
            width_px=self.width,
            height_px=self.height,
            fx_px=focal_px,
            fy_px=focal_px,
            cx_px=(self.width - 1) / 2,
            cy_px=(self.height - 1) / 2,
        )

    def close(self) -> None:
        """Release the camera."""
        self._next_s = None


def main() -> None:
    """Use the driver as the camera node does, and print its rate."""
    driver: CameraDriver = TestPattern("wrist", 96, 96)
    driver.connect()
    stamps_ns = []
    for _ in range(10):
        image, stamp_ns = driver.read(timeout_s=1.0)
        stamps_ns.append(stamp_ns)
    driver.close()
    print(f"{driver.name}: {len(stamps_ns)} frames of {image.shape}, {1e9 / np.mean(np.diff(stamps_ns)):.1f} Hz")


if __name__ == "__main__":
    main()
