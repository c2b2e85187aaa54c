"""The last pictures of a camera, of which several cameras' are matched by their times."""

from collections import deque

import numpy as np
import numpy.typing as npt

_PICTURES = 8
"""At 30 Hz a quarter of a second: longer than two cameras of one stack are apart."""

Picture = tuple[int, npt.NDArray[np.uint8]]
"""Capture time, ns, and (H, W, 3) RGB."""


class PictureHistory:
    """Newest last; a clock that jumps back forgets the ones before."""

    def __init__(self) -> None:
        """Begin without any."""
        self._pictures: deque[Picture] = deque(maxlen=_PICTURES)

    @property
    def newest_ns(self) -> int | None:
        """When the newest picture was taken; None before the first."""
        return self._pictures[-1][0] if self._pictures else None

    def push(self, stamp_ns: int, image: npt.NDArray[np.uint8]) -> None:
        """Add a picture; one of the same time replaces the one before."""
        newest_ns = self.newest_ns
        if newest_ns is not None and stamp_ns < newest_ns:
            self._pictures.clear()
        elif stamp_ns == newest_ns:
            self._pictures.pop()
        self._pictures.append((stamp_ns, image))

    def nearest(self, stamp_ns: int) -> Picture:
        """Return the picture nearest to a time; of two as near, the newer one. There must be one."""
        return min(reversed(self._pictures), key=lambda picture: abs(picture[0] - stamp_ns))
