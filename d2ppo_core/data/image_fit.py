"""Pictures of any size made to fit the image encoder, the same to the bit in training and inside a bundle's graph.

Padding (by the border's pixels), cropping (the centre) and resizing (by area) are one operation: each axis is a matrix
of whole numbers that sum to `SCALE` in every row. Products of 8-bit pixels and such weights are exact in float32, and
on hardware that rounds products to TF32, so numpy, torch and ONNX Runtime cannot differ.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from d2ppo_core.config import DataConfig
from d2ppo_core.config.schema import IMAGE_STEP_PX
from d2ppo_core.errors import DataError

SCALE = 256
"""Weights of one output pixel sum to this."""
_FRAMES_AT_ONCE = 64


@dataclass(frozen=True, kw_only=True)
class ImageFit:
    """How pictures of one size become what the network sees."""

    how: str
    """`pad`, `crop` or `resize`."""
    camera_hw: tuple[int, int]
    """Height and width of the camera's picture, pixels."""
    image_hw: tuple[int, int]
    """Height and width that the network sees, pixels."""

    @property
    def changes(self) -> bool:
        """Whether there is anything to do."""
        return self.camera_hw != self.image_hw

    def __str__(self) -> str:
        """Readable, for manifests: `pad 84x84 to 88x88 px`; empty where nothing changes."""
        sizes = "{}x{} to {}x{} px".format(*self.camera_hw, *self.image_hw)
        return f"{self.how} {sizes} (height x width)" if self.changes else ""

    @cached_property
    def weights(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Matrices (H', H) and (W', W) of whole numbers, rows summing to `SCALE`."""
        rows, columns = (axis_weights(a, b, self.how) for a, b in zip(self.camera_hw, self.image_hw, strict=True))
        return rows, columns

    def apply(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """(..., H, W, 3) -> (..., H', W', 3). Raises DataError for pictures of another size."""
        if images.shape[-3:-1] != self.camera_hw:
            raise DataError(f"wanted pictures of {self.camera_hw} px (height, width), got {images.shape[-3:-1]}")
        if not self.changes:
            return images
        frames = images.reshape(-1, *images.shape[-3:])
        fitted = np.empty((len(frames), *self.image_hw, 3), dtype=np.uint8)
        for first in range(0, len(frames), _FRAMES_AT_ONCE):
            part = slice(first, first + _FRAMES_AT_ONCE)
            fitted[part] = self._apply(frames[part].astype(np.float32))
        return fitted.reshape(*images.shape[:-3], *self.image_hw, 3)

    def _apply(self, frames: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        rows, columns = self.weights
        (height, _), width = self.image_hw, frames.shape[2]
        tall = rounded(rows @ frames.reshape(len(frames), -1, width * 3))
        wide = rounded(columns @ tall.reshape(len(frames) * height, width, 3))
        return wide.reshape(len(frames), *self.image_hw, 3)


def rounded(sums: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Weighted sums back to pixels; halves go up."""
    return np.asarray(np.floor(sums / np.float32(SCALE) + np.float32(0.5)))


def axis_weights(size: int, target: int, how: str) -> npt.NDArray[np.float32]:
    """(target, size) whole numbers, each row summing to `SCALE`: which pixels make an output pixel."""
    if how == "resize":
        edges = np.arange(target + 1) * (size / target)
        pixels = np.arange(size)
        low, high = np.maximum(edges[:-1, None], pixels), np.minimum(edges[1:, None], pixels + 1)
        return _whole(np.maximum(high - low, 0))
    first = (size - target) // 2 if how == "crop" else -((target - size) // 2)
    source = np.clip(first + np.arange(target), 0, size - 1)
    weights = np.zeros((target, size), dtype=np.float32)
    weights[np.arange(target), source] = SCALE
    return weights


def _whole(shares: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Shares to whole numbers with the exact sum: the largest remainders are rounded up."""
    wanted = shares / shares.sum(1, keepdims=True) * SCALE
    whole: npt.NDArray[np.float64] = np.floor(wanted + 1e-9)
    for row, missing in enumerate(np.rint(SCALE - whole.sum(1)).astype(int)):
        whole[row, np.argsort(whole[row] - wanted[row], kind="stable")[:missing]] += 1
    return np.asarray(whole, dtype=np.float32)


def fit_of(config: DataConfig, camera_hw: tuple[int, int]) -> ImageFit:
    """How a configuration fits pictures of this size.

    Raises DataError when padding would have to cut, or cropping to add.
    """
    wanted = config.image_size_px or tuple(_nearest(side, config.image_fit) for side in camera_hw)
    fit = ImageFit(how=config.image_fit, camera_hw=camera_hw, image_hw=(wanted[0], wanted[1]))
    pairs = list(zip(fit.image_hw, camera_hw, strict=True))
    cuts, adds = any(new < old for new, old in pairs), any(new > old for new, old in pairs)
    if (fit.how == "pad" and cuts) or (fit.how == "crop" and adds):
        raise DataError(
            f"pictures of {camera_hw[0]}x{camera_hw[1]} px (height x width) cannot be fitted to "
            f"{wanted[0]}x{wanted[1]} by data.image_fit={fit.how}; set data.image_fit=resize, or data.image_size_px"
        )
    return fit


def _nearest(side: int, how: str) -> int:
    """The length that the encoder can cut into patches: above for padding, below for cropping, else the nearest."""
    below = side // IMAGE_STEP_PX
    steps = {"pad": -(-side // IMAGE_STEP_PX), "crop": below}.get(how, round(side / IMAGE_STEP_PX))
    return max(steps, 1) * IMAGE_STEP_PX
