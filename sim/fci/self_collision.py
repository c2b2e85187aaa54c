"""How close the arm comes to itself: capsules around its links, by Franka's frames."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Capsule:
    """A segment with a radius in a link's frame, metres."""

    body: str
    start: tuple[float, float, float]
    end: tuple[float, float, float]
    radius: float


COLUMN = (
    Capsule("robot0_link0", (-0.09, 0.0, 0.06), (-0.06, 0.0, 0.06), 0.06),
    Capsule("robot0_link1", (0.0, 0.0, -0.333), (0.0, 0.0, -0.05), 0.06),
    Capsule("robot0_link2", (0.0, 0.0, -0.06), (0.0, 0.0, 0.06), 0.06),
    Capsule("robot0_link3", (0.0, 0.0, -0.22), (0.0, 0.0, -0.07), 0.06),
)
"""What stands: base, shoulder and upper arm."""
FOREARM = (
    Capsule("robot0_link5", (0.0, 0.0, -0.31), (0.0, 0.0, -0.21), 0.06),
    Capsule("robot0_link5", (0.0, 0.08, -0.20), (0.0, 0.08, -0.06), 0.025),
    Capsule("robot0_link6", (0.0, 0.0, -0.07), (0.0, 0.0, 0.01), 0.05),
    Capsule("robot0_link6", (0.088, 0.0, -0.02), (0.088, 0.02, 0.05), 0.05),
    Capsule("robot0_link7", (0.0, 0.0, -0.06), (0.0, 0.0, 0.08), 0.04),
    Capsule("robot0_right_hand", (0.0, -0.05, 0.04), (0.0, 0.05, 0.04), 0.04),
    Capsule("robot0_right_hand", (0.0, -0.05, 0.10), (0.0, 0.05, 0.10), 0.02),
)
"""What can come down on it; within the travel of the joints no other links meet."""


class SelfCollision:
    """Distance between the arm's two halves in the pose of some kinematic data."""

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Watch `data`, whose kinematics somebody else keeps up to date."""
        self._data = data
        self._parts = [_Part(model, capsules) for capsules in (COLUMN, FOREARM)]

    def distance_m(self) -> float:
        """Smallest gap, negative when the arm would touch itself."""
        (a0, a1, a_radius), (b0, b1, b_radius) = (part.segments(self._data) for part in self._parts)
        gaps = segment_distances(a0, a1, b0, b1) - a_radius[:, None] - b_radius[None, :]
        return float(gaps.min())


class _Part:
    def __init__(self, model: mujoco.MjModel, capsules: tuple[Capsule, ...]) -> None:
        self._bodies = np.array([model.body(capsule.body).id for capsule in capsules])
        self._ends = np.array([(capsule.start, capsule.end) for capsule in capsules])
        self._radius = np.array([capsule.radius for capsule in capsules])

    def segments(self, data: mujoco.MjData) -> tuple[Vector, Vector, Vector]:
        """Both ends (n, 3) and radii (n,) in the world."""
        rotation = data.xmat[self._bodies].reshape(-1, 3, 3)
        ends = np.einsum("nij,nkj->nki", rotation, self._ends) + data.xpos[self._bodies][:, None]
        return ends[:, 0], ends[:, 1], self._radius


def segment_distances(a0: Vector, a1: Vector, b0: Vector, b1: Vector) -> Vector:
    """(n, m) distances between segments a (n, 3) ... and b (m, 3) ..."""
    u, v = (a1 - a0)[:, None], (b1 - b0)[None, :]
    w = a0[:, None] - b0[None, :]
    uu, uv, vv = (u * u).sum(-1), (u * v).sum(-1), (v * v).sum(-1)
    uw, vw = (u * w).sum(-1), (v * w).sum(-1)
    denominator = np.maximum(uu * vv - uv * uv, 1e-12)
    s = np.clip((uv * vw - vv * uw) / denominator, 0.0, 1.0)
    t = np.clip((uv * s + vw) / np.maximum(vv, 1e-12), 0.0, 1.0)
    s = np.clip((uv * t - uw) / np.maximum(uu, 1e-12), 0.0, 1.0)
    gap = w + s[..., None] * u - t[..., None] * v
    distance: Vector = np.sqrt((gap * gap).sum(-1))
    return distance
