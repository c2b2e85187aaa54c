"""MP4 files, picture by picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray

from d2ppo_core.closing import Closing
from d2ppo_core.errors import DataError

CODEC, PIXEL_FORMAT = "h264", "yuv420p"
QUALITY_CRF = 20
"""x264's constant rate factor: 18 is visually lossless, 28 coarse."""


class VideoWriter(Closing):
    """Appends pictures to one H.264 file; both sides of a picture must be even."""

    def __init__(self, path: Path, *, width: int, height: int, fps: float, keyframe_every: int = 20) -> None:
        """Make the folder; the encoder starts with the first picture, so that none leaves no file.

        Args:
            path: the MP4 file; its folder is created.
            width: of the pictures, pixels.
            height: of the pictures, pixels.
            fps: pictures per second.
            keyframe_every: pictures from one that stands for itself to the next; small is quick to seek in.

        Raises:
            DataError: a side is odd, which the pixel format does not allow.
        """
        if width % 2 or height % 2:
            raise DataError(f"a video wants even sides, got {width}x{height} pixels")
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.num_frames = path, 0
        self._shape = (height, width, 3)
        self._fps, self._keyframe_every = fps, keyframe_every
        self._process: Any = None

    def append(self, picture: NDArray[np.uint8]) -> None:
        """Encode one picture (H, W, 3).

        Raises:
            DataError: wrong size or type, or the encoder died (no room on the disk?).
        """
        if picture.shape != self._shape or picture.dtype != np.uint8:
            raise DataError(f"{self.path}: wanted pictures uint8 {self._shape}, got {picture.dtype} {picture.shape}")
        if self._process is None:
            self._process = self._start()
        try:
            self._process.send(np.ascontiguousarray(picture))
        except OSError as error:
            raise DataError(f"{self.path}: the encoder stopped ({error}); is the disk full?") from error
        self.num_frames += 1

    def close(self) -> None:
        """Finish the file; a second call does nothing."""
        if self._process is not None:
            self._process.close()

    def _start(self) -> Any:
        height, width, _ = self._shape
        process = imageio_ffmpeg.write_frames(
            str(self.path),
            (width, height),
            fps=self._fps,
            codec="libx264",
            pix_fmt_out=PIXEL_FORMAT,
            macro_block_size=2,
            ffmpeg_log_level="error",
            output_params=f"-crf {QUALITY_CRF} -g {self._keyframe_every} -bf 0 -preset veryfast".split(),
        )
        process.send(None)
        return process
