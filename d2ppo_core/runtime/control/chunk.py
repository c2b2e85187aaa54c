"""A timed chunk of absolute targets: what travels from the policy to the arm, free of any message type."""

from dataclasses import dataclass

import numpy as np

from d2ppo_core.geometry import Array

_NS = 1_000_000_000


class ChunkRefusedError(ValueError):
    """The chunk may not be executed; the text says why. Not fatal: the arm counts it by its reason and goes on."""

    def __init__(self, text: str, reason: str = "malformed") -> None:
        """Take the text and the reason it counts under, one of REASONS."""
        super().__init__(text)
        self.reason = reason


REASONS = {
    "malformed": "no targets, or parts of different shapes or lengths",
    "not_finite": "a NaN or an infinity",
    "period": "dt not between 1 ms and 1 s",
    "quaternion": "a quaternion whose norm is off by more than 0.001",
    "frame": "targets in another frame than the robot's base",
    "epoch": "made from an observation before the last stop, reflex, homing or hand-back",
    "bundle": "made by another bundle than the one followed, and no swap was announced",
    "rival": "from another publisher than the one followed, which still sends",
    "partner": "of a plan for several arms that the others did not all follow",
    "older": "made from an observation older than that of the chunk followed",
    "future": "stamped more than 20 ms ahead of the clock",
    "expired": "its last target was due already",
    "blind": "the robot's own state stopped arriving",
}
"""Why chunks are refused: reason and what it means."""


@dataclass(frozen=True, kw_only=True)
class TimedChunk:
    """Absolute targets with their time: target i is due at ``stamp_ns + i * dt_ns``.

    Attributes:
        stamp_ns: Capture time of the newest observation used.
        dt_ns: Time between two targets.
        sequence: Counts up per policy activation.
        epoch: Epoch of the arm's state at capture.
        bundle_hash: Bundle that made it.
        source: Names one run of the publisher that it came from.
        epochs: Of all arms that the plan moves, in the policy's order; empty: it moves this one alone.
        positions_m: (N, 3) end-effector positions in the base frame.
        quats_xyzw: (N, 4) unit quaternions.
        twists: (N, 6) linear m/s and angular rad/s at each target.
        gripper_width_m: (N,) openings, each wanted from its target on.
    """

    stamp_ns: int
    dt_ns: int
    sequence: int
    epoch: int
    bundle_hash: str
    source: str = ""
    epochs: tuple[int, ...] = ()
    positions_m: Array
    quats_xyzw: Array
    twists: Array
    gripper_width_m: Array

    @property
    def end_ns(self) -> int:
        """Time at which the last target is due."""
        return self.stamp_ns + (len(self.positions_m) - 1) * self.dt_ns

    def refuse_if_malformed(self) -> None:
        """Raise ChunkRefusedError when shapes, numbers or quaternions are not fit for a robot."""
        count = len(self.positions_m)
        wanted = {
            "positions_m": (count, 3),
            "quats_xyzw": (count, 4),
            "twists": (count, 6),
            "gripper_width_m": (count,),
        }
        for name, shape in wanted.items():
            value = getattr(self, name)
            if value.shape != shape or count == 0:
                raise ChunkRefusedError(f"{name} has shape {value.shape}, wanted {shape} with at least one target")
            if not np.isfinite(value).all():
                raise ChunkRefusedError(f"{name} holds NaN or infinity", "not_finite")
        if not 1_000_000 <= self.dt_ns <= _NS:
            raise ChunkRefusedError(f"dt must lie between 1 ms and 1 s, got {self.dt_ns / 1e6:.3f} ms", "period")
        error = float(np.abs(np.linalg.norm(self.quats_xyzw, axis=1) - 1.0).max())
        if error > 1e-3:
            raise ChunkRefusedError(f"quaternions must have unit norm, worst is off by {error:.3g}", "quaternion")
