"""What an arm told of itself lately, at any time in between."""

from bisect import bisect_left
from collections import deque
from dataclasses import dataclass

from d2ppo_core.geometry import RigidState, moved_by, step_between

_STATES = 128


@dataclass(frozen=True, kw_only=True)
class ArmSample:
    """State of the arm at one time: measured and commanded end effector, gripper opening, epoch."""

    stamp_ns: int
    measured: RigidState
    reference: RigidState
    gripper_width_m: float
    epoch: int


EXACT, INTERPOLATED, NEAREST = "exact", "interpolated", "nearest"
"""How a state at a time came about: told so, from the two around it, or as the nearest (one side is missing)."""


class ArmHistory:
    """The newest states of an arm; a clock that jumps back forgets the ones before."""

    def __init__(self) -> None:
        """Begin without any."""
        self._samples: deque[ArmSample] = deque(maxlen=_STATES)

    def __bool__(self) -> bool:
        """Whether anything was told."""
        return bool(self._samples)

    @property
    def newest_ns(self) -> int:
        """When the last state was told; -1 before the first."""
        return self._samples[-1].stamp_ns if self._samples else -1

    def push(self, sample: ArmSample) -> None:
        """Add a state."""
        if sample.stamp_ns < self.newest_ns:
            self._samples.clear()
        self._samples.append(sample)

    def at(self, stamp_ns: int) -> tuple[ArmSample, int, str]:
        """Return the state at a time.

        Positions, twists and openings are interpolated linearly, rotations on the sphere, between the two states around
        it. Where there is no later one yet, or a new epoch began between the two, it is the nearest as it was told.

        Returns:
            The state; how far, ns, the nearest state that was told is from that time (negative: before it); how it came
            about.
        """
        samples = list(self._samples)
        after = bisect_left([sample.stamp_ns for sample in samples], stamp_ns)
        near = [samples[i] for i in (after - 1, after) if 0 <= i < len(samples)]
        nearest = min(near, key=lambda sample: abs(sample.stamp_ns - stamp_ns))
        off_ns = nearest.stamp_ns - stamp_ns
        if off_ns == 0:
            return nearest, 0, EXACT
        if len(near) < 2 or near[0].epoch != near[1].epoch:
            return nearest, off_ns, NEAREST
        return between(near[0], near[1], stamp_ns), off_ns, INTERPOLATED


def between(before: ArmSample, after: ArmSample, stamp_ns: int) -> ArmSample:
    """Return the state at a time between two states of one epoch."""
    share = (stamp_ns - before.stamp_ns) / (after.stamp_ns - before.stamp_ns)
    return ArmSample(
        stamp_ns=stamp_ns,
        measured=_mixed(before.measured, after.measured, share),
        reference=_mixed(before.reference, after.reference, share),
        gripper_width_m=(1.0 - share) * before.gripper_width_m + share * after.gripper_width_m,
        epoch=after.epoch,
    )


def _mixed(before: RigidState, after: RigidState, share: float) -> RigidState:
    pose = moved_by(before.pose, share * step_between(before.pose, after.pose))
    return RigidState(pose, (1.0 - share) * before.twist + share * after.twist)
