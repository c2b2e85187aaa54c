"""What is wrong with a frame that a camera delivered."""

import numpy as np
import numpy.typing as npt

_MS = 1_000_000


class FrameWatch:
    """Looks at each frame and the ones before it; no clock, no camera."""

    def __init__(self, width: int, height: int, frozen_after: int) -> None:
        """Expect pictures of one size.

        Args:
            width: px.
            height: px.
            frozen_after: So many equal pictures in a row are a frozen camera; 0: a still scene may look like that.
        """
        self._shape = (height, width, 3)
        self._frozen_after = frozen_after
        self._last: tuple[npt.NDArray[np.uint8], int] | None = None
        self._equal = 0

    def fault(self, image: npt.NDArray[np.uint8], stamp_ns: int) -> str:
        """Say why a frame cannot be used; empty when it can.

        A clock that was set back costs the one frame by which it is noticed.
        """
        if image.shape != self._shape or image.dtype != np.uint8:
            wanted, got = "x".join(map(str, self._shape)), "x".join(map(str, image.shape))
            return f"delivers {got} {image.dtype}, wanted {wanted} uint8 (height x width x RGB)"
        last, self._last = self._last, (image, stamp_ns)
        if last is None:
            return ""
        if stamp_ns == last[1]:
            return "is stuck: it repeats the time of its last frame"
        if stamp_ns < last[1]:
            self._equal = 0
            return f"has a clock that jumped back by {(last[1] - stamp_ns) / _MS:.0f} ms"
        if self._frozen_after:
            self._equal = self._equal + 1 if np.array_equal(image, last[0]) else 0
            if self._equal >= self._frozen_after:
                return f"is frozen: the same picture {self._equal + 1} times in a row"
        return ""
