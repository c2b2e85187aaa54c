"""Where a camera is in the robot's base frame: fixed beside the robot, or carried by its hand."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence

import numpy as np
from scipy.spatial.transform import Rotation

from d2ppo_core.errors import ConfigError
from d2ppo_core.geometry import Array
from d2ppo_core.runtime.inference.missing import MissingObservationError

BASE, HAND = "base", "hand"
_MS = 1_000_000
_UNIT = 1e-3


class Mount:
    """A camera's place; optical frame: x right, y down, z forward."""

    def __init__(self, on: str, pose: Array, max_skew_s: float = 0.03) -> None:
        """Mount a camera.

        Args:
            on: ``base`` or ``hand``: in whose frame the pose (4×4) is; the hand's is that of the end effector.
            pose: The camera's optical frame there.
            max_skew_s: Largest time between a picture and the state of the arm.

        Raises:
            ConfigError: It is on something else.
        """
        if on not in (BASE, HAND):
            raise ConfigError(f"a camera is mounted on {BASE} or {HAND}, got {on!r}")
        self.on, self.pose = on, pose
        self._max_skew_ns = round(max_skew_s * 1e9)
        self._hand: deque[tuple[int, Array]] = deque(maxlen=128)

    def push_hand(self, stamp_ns: int, T_base_ee: Array) -> None:
        """Take note of where the hand was; a clock that jumps back clears the history."""
        if self._hand and stamp_ns < self._hand[-1][0]:
            self._hand.clear()
        self._hand.append((stamp_ns, T_base_ee))

    def pose_at(self, stamp_ns: int) -> Array:
        """Return where the camera was, 4×4 in the base frame.

        Raises:
            MissingObservationError: Nobody knows where the hand was then.
        """
        if self.on == BASE:
            return self.pose
        if not self._hand:
            raise MissingObservationError("no state from the arm yet, whose hand carries the camera")
        stamps = [stamp for stamp, _ in self._hand]
        after = bisect_left(stamps, stamp_ns)
        near = [self._hand[i] for i in (after - 1, after) if 0 <= i < len(stamps)]
        at_ns, T_base_ee = min(near, key=lambda one: abs(one[0] - stamp_ns))
        if abs(at_ns - stamp_ns) > self._max_skew_ns:
            away_ms = abs(at_ns - stamp_ns) / _MS
            raise MissingObservationError(f"the arm's state nearest to the picture is {away_ms:.0f} ms away")
        return np.asarray(T_base_ee @ self.pose)


def unit_rotation(quat_xyzw: Sequence[float]) -> Rotation:
    """Return a rotation of four numbers that a person wrote.

    Raises:
        ConfigError: They are no unit quaternion.
    """
    norm = float(np.linalg.norm(quat_xyzw))
    if not abs(norm - 1.0) < _UNIT:
        raise ConfigError(f"camera_pose: wanted a unit quaternion x, y, z, w at its end, got norm {norm:.4g}")
    return Rotation.from_quat(quat_xyzw)
