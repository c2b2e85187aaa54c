"""What a policy sees of a camera's picture: the largest centred part of its shape, scaled down by area.

Camera node, recordings and whoever makes training data from a camera's own pictures use this one function; the size is
that of the bundle's manifest (``ObservationSpec.shape``), never a launch file's. How the network fits *that* picture to
its encoder is part of the graph (``ObservationSpec.fit``).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from d2ppo_core.calibrated import Intrinsics
from d2ppo_core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class View:
    """From a camera's own picture to a policy's.

    Attributes:
        camera_hw: Height and width of the camera's picture, px.
        policy_hw: Height and width of the policy's, px.
    """

    camera_hw: tuple[int, int]
    policy_hw: tuple[int, int]

    def __post_init__(self) -> None:
        """Raise ConfigError where a picture would have to be enlarged."""
        (height, width), (policy_height, policy_width) = self.camera_hw, self.policy_hw
        if not (0 < policy_height <= height and 0 < policy_width <= width):
            raise ConfigError(
                f"image {policy_width}x{policy_height} must fit into the camera's {width}x{height} (width x height)"
            )

    @property
    def crop(self) -> tuple[int, int, int, int]:
        """Left, top, width and height of the part that is seen, px of the camera's picture."""
        (height, width), (policy_height, policy_width) = self.camera_hw, self.policy_hw
        scale = min(width / policy_width, height / policy_height)
        seen_width, seen_height = round(policy_width * scale), round(policy_height * scale)
        return (width - seen_width) // 2, (height - seen_height) // 2, seen_width, seen_height

    def apply(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """(H, W, 3) of the camera -> (H', W', 3) of the policy; raises ValueError for a picture of another size."""
        if image.shape[:2] != self.camera_hw:
            raise ValueError(f"wanted a picture of {self.camera_hw} px (height, width), got {image.shape[:2]}")
        if self.camera_hw == self.policy_hw:
            return image
        import cv2  # a simulated camera draws what the policy sees, and needs none

        left, top, width, height = self.crop
        part = image[top : top + height, left : left + width]
        size = self.policy_hw[1], self.policy_hw[0]
        return np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)

    def intrinsics(self, camera: Intrinsics) -> Intrinsics:
        """Return the lens of the policy's picture; pixels are squares around whole numbers, so that halves shift."""
        left, top, width, height = self.crop
        scale_x, scale_y = self.policy_hw[1] / width, self.policy_hw[0] / height
        return Intrinsics(
            width_px=self.policy_hw[1],
            height_px=self.policy_hw[0],
            fx_px=camera.fx_px * scale_x,
            fy_px=camera.fy_px * scale_y,
            cx_px=(camera.cx_px - left + 0.5) * scale_x - 0.5,
            cy_px=(camera.cy_px - top + 0.5) * scale_y - 0.5,
            distortion=camera.distortion,
        )
