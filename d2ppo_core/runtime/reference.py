"""Reference generator: a continuous pose and twist, at any rate, out of chunks that jump at their seams."""

import numpy as np
from scipy.spatial.transform import Rotation

from d2ppo_core.geometry import Array, transform_from
from d2ppo_core.runtime.chunk import TimedChunk
from d2ppo_core.runtime.osc import RigidState

REST_S = 0.25
"""Time in which a reference that is told to rest loses its speed: 0.5 m/s at 2 m/s²."""


class ReferenceGenerator:
    """Follows the newest chunk by time and fades the jump at each seam out.

    Within a chunk the pose is a cubic Hermite curve through its targets and twists. At a seam the offset between the
    reference so far and the new chunk (position and velocity) is carried over and taken to zero by a quintic within
    ``blend_s``, so that pose and twist never jump. Past its last target a chunk rests at its end; ``rest`` ends it
    earlier.
    """

    def __init__(self, hold: Array, blend_s: float) -> None:
        """Start at rest.

        Args:
            hold: 4×4 pose to hold until the first chunk comes.
            blend_s: Time in which a seam's offset fades out.
        """
        if blend_s <= 0.0:
            raise ValueError(f"blend_s must be positive, got {blend_s}")
        self._blend_s = blend_s
        self._hold = RigidState(hold, np.zeros(6))
        self._chunk: TimedChunk | None = None
        self._seam_ns = 0
        self._offset = np.zeros(6)
        self._offset_rate = np.zeros(6)

    @property
    def chunk(self) -> TimedChunk | None:
        """The chunk being followed."""
        return self._chunk

    def follow(self, chunk: TimedChunk, now_ns: int) -> None:
        """Change over to a chunk at ``now_ns`` without a jump."""
        before = self.sample(now_ns)
        pose, twist = _sample_chunk(chunk, now_ns)
        turn = Rotation.from_matrix(before.pose[:3, :3]) * pose[1].inv()
        self._offset = np.concatenate([before.pose[:3, 3] - pose[0], turn.as_rotvec()])
        self._offset_rate = before.twist - twist
        self._chunk, self._seam_ns = chunk, now_ns

    def rest(self, start: RigidState, now_ns: int) -> None:
        """Forget the chunk and slow down evenly from ``start`` to rest within ``REST_S``."""
        self._hold, self._chunk, self._seam_ns = start, None, now_ns

    def sample(self, now_ns: int) -> RigidState:
        """Return the reference at a time; times before the last seam give the reference at the seam."""
        if self._chunk is None:
            return _slowed(self._hold, max(0.0, (now_ns - self._seam_ns) * 1e-9))
        (position, rotation), twist = _sample_chunk(self._chunk, max(now_ns, self._seam_ns))
        offset, rate = self._fade(max(0.0, (now_ns - self._seam_ns) * 1e-9))
        rotation = Rotation.from_rotvec(offset[3:]) * rotation
        return RigidState(transform_from(position + offset[:3], rotation), twist + rate)

    def _fade(self, time_s: float) -> tuple[Array, Array]:
        """Quintic with the seam's offset and rate at 0, at rest and zero (to the second derivative) at the end."""
        s = time_s / self._blend_s
        if s >= 1.0:
            return np.zeros(6), np.zeros(6)
        p, v = self._offset, self._offset_rate * self._blend_s
        c3, c4, c5 = -10.0 * p - 6.0 * v, 15.0 * p + 8.0 * v, -6.0 * p - 3.0 * v
        value = p + s * (v + s * s * (c3 + s * (c4 + s * c5)))
        slope = v + s * s * (3.0 * c3 + s * (4.0 * c4 + s * 5.0 * c5))
        return value, slope / self._blend_s


def _slowed(start: RigidState, time_s: float) -> RigidState:
    """Where a motion is that loses its twist evenly from ``start`` on."""
    s = min(1.0, time_s / REST_S)
    moved = start.twist * REST_S * (s - 0.5 * s * s)
    pose = start.pose.copy()
    pose[:3, 3] += moved[:3]
    pose[:3, :3] = Rotation.from_rotvec(moved[3:]).as_matrix() @ pose[:3, :3]
    return RigidState(pose, start.twist * (1.0 - s))


def _sample_chunk(chunk: TimedChunk, now_ns: int) -> tuple[tuple[Array, Rotation], Array]:
    """Hermite sample of a chunk; it rests at its last target and starts at its first."""
    place = max(0.0, (now_ns - chunk.stamp_ns) / chunk.dt_ns)
    last = len(chunk.positions_m) - 1
    if place >= last:
        return (chunk.positions_m[last], Rotation.from_quat(chunk.quats_xyzw[last])), np.zeros(6)
    dt_s = chunk.dt_ns * 1e-9
    i = int(place)
    s = place - i
    start, end = Rotation.from_quat(chunk.quats_xyzw[i]), Rotation.from_quat(chunk.quats_xyzw[i + 1])
    step = np.concatenate([chunk.positions_m[i + 1] - chunk.positions_m[i], (end * start.inv()).as_rotvec()])
    m0, m1 = chunk.twists[i] * dt_s, chunk.twists[i + 1] * dt_s
    moved = s * (m0 + s * ((3.0 * step - 2.0 * m0 - m1) + s * (m0 + m1 - 2.0 * step)))
    rate = m0 + s * (2.0 * (3.0 * step - 2.0 * m0 - m1) + 3.0 * s * (m0 + m1 - 2.0 * step))
    return (chunk.positions_m[i] + moved[:3], Rotation.from_rotvec(moved[3:]) * start), rate / dt_s
