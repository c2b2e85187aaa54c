"""Reference generator: a smooth motion, at any rate, out of chunks that jump at their seams."""

from dataclasses import replace

import numpy as np

from d2ppo_core.geometry import Array, RigidState, moved_by, step_between
from d2ppo_core.runtime.control.blend import BlendLimits, seam, stop
from d2ppo_core.runtime.control.chunk import TimedChunk
from d2ppo_core.runtime.control.speed import SpeedScale
from d2ppo_core.runtime.control.trajectory import ChunkCurve, Motion


class ReferenceGenerator:
    """Follows the newest chunk by time and fades the jump at each seam out.

    Within a chunk the motion is a curve without steps of acceleration. At a seam the offset between the motion so far
    and the new chunk (pose, twist and acceleration) is carried over and faded out, in a time chosen such that what the
    fading adds stays within the limits; so none of the three ever jumps. Past its last target a chunk comes
    to rest; ``rest`` ends it earlier. A speed scale below 1 lets the chunk's own time pass more slowly.
    """

    def __init__(self, hold: Array, limits: BlendLimits, speed: SpeedScale | None = None) -> None:
        """Start at rest.

        Args:
            hold: 4×4 pose to hold until the first chunk comes.
            limits: What seams and stops may add to the motion.
            speed: How fast a chunk's time passes; None: as the clock does.
        """
        self._limits, self._speed = limits, speed or SpeedScale()
        self._chunk: TimedChunk | None = None
        self._curve: ChunkCurve | None = None
        self._base_pose = hold
        self._blend = stop(np.zeros(6), np.zeros(6), limits)
        self._since_ns = 0
        self._overruled: tuple[RigidState, int] | None = None

    @property
    def chunk(self) -> TimedChunk | None:
        """The chunk being followed."""
        return self._chunk

    def follow(self, chunk: TimedChunk, now_ns: int) -> None:
        """Change over to a chunk at ``now_ns``, smoothly."""
        self._begin(chunk, self._before(now_ns), now_ns)

    def resume(self, start: RigidState, now_ns: int) -> None:
        """Go on from what the robot was told last, after time has passed in which nobody told it anything."""
        if self._chunk is None:
            self.rest(start, now_ns)
        else:
            self._begin(self._chunk, _motion(start), now_ns)

    def rest(self, start: RigidState, now_ns: int) -> None:
        """Forget the chunk and come to rest from ``start`` within the limits."""
        motion = _motion(start)
        self._chunk = self._curve = None
        self._base_pose, self._since_ns, self._overruled = motion.pose, now_ns, None
        self._blend = stop(motion.twist, motion.acceleration, self._limits)

    def overrule(self, command: RigidState | None, now_ns: int) -> None:
        """Take note of a command that differed from the last sample, or of none: the next seam starts from there."""
        self._overruled = None if command is None else (command, now_ns)

    def index(self, now_ns: int) -> int:
        """Return which of the chunk's targets was due last; 0 without a chunk."""
        if self._chunk is None:
            return 0
        place = self._speed.elapsed_s(self._chunk.stamp_ns, now_ns) / (self._chunk.dt_ns * 1e-9)
        return int(min(max(place + 1e-9, 0.0), len(self._chunk.positions_m) - 1))

    def sample(self, now_ns: int) -> Motion:
        """Return the reference at a time; times before the last seam give the reference at the seam."""
        now_ns = max(now_ns, self._since_ns)
        way, rate, acceleration = self._blend.at((now_ns - self._since_ns) * 1e-9)
        if self._chunk is None or self._curve is None:
            return Motion(moved_by(self._base_pose, way), rate, acceleration)
        base = self._on_curve(self._chunk, self._curve, now_ns)
        return Motion(moved_by(base.pose, way), base.twist + rate, base.acceleration + acceleration)

    def _before(self, now_ns: int) -> Motion:
        """The motion that a seam continues: what the robot was told, brought forward to now."""
        if self._overruled is None:
            return self.sample(now_ns)
        command, then_ns = self._overruled
        return _motion(replace(command, pose=moved_by(command.pose, command.twist * (now_ns - then_ns) * 1e-9)))

    def _begin(self, chunk: TimedChunk, before: Motion, now_ns: int) -> None:
        curve = ChunkCurve(chunk, self._limits)
        base = self._on_curve(chunk, curve, now_ns)
        self._blend = seam(
            step_between(base.pose, before.pose),
            before.twist - base.twist,
            before.acceleration - base.acceleration,
            self._limits,
        )
        self._chunk, self._curve, self._since_ns, self._overruled = chunk, curve, now_ns, None

    def _on_curve(self, chunk: TimedChunk, curve: ChunkCurve, now_ns: int) -> Motion:
        """The chunk's motion, driven along at the speed scale."""
        base = curve.at(self._speed.elapsed_s(chunk.stamp_ns, now_ns))
        scale, change = self._speed.at(now_ns)
        return Motion(base.pose, scale * base.twist, scale**2 * base.acceleration + change * base.twist)


def _motion(state: RigidState) -> Motion:
    return state if isinstance(state, Motion) else Motion(state.pose, state.twist, np.zeros(6))
