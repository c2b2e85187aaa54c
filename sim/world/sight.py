"""The objects of a world as perception would report them: the truth, and on demand worse than that."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from d2ppo_core.errors import WorldError
from d2ppo_core.geometry import Array, inverse, rotation_matrix
from sim.rendering.offscreen import VISUAL_GEOM_GROUP
from sim.world.world import World

_STREAM = 0x0B1EC7
"""Keeps the draws apart from those of the episode's start, which has the same seed."""


@dataclass(frozen=True, kw_only=True)
class Flaws:
    """What is wrong with perception."""

    noise_m: float = 0.0
    """Standard deviation of each coordinate."""
    noise_rad: float = 0.0
    """Of the rotation about each axis."""
    delay_s: float = 0.0
    """From the instant to its report."""
    lost_share: float = 0.0
    """Of the objects that are in sight, how many are missed each time."""
    hidden: frozenset[str] = frozenset()
    """Objects that are not seen at all."""

    def covariance(self) -> Array:
        """(6, 6) of translation and rotation."""
        return np.diag([self.noise_m**2] * 3 + [self.noise_rad**2] * 3)


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was seen at an instant."""

    stamp_ns: int
    due_ns: int
    poses: dict[str, Array]
    """Name -> 4×4 in the base frame of the first arm."""
    covariance: Array
    """(6, 6) of each of them."""
    touching: frozenset[tuple[str, str]] = frozenset()
    """Of those that are seen, which touch which."""


class ObjectSight:
    """Looks at a world's objects; the same seed of an episode gives the same flaws."""

    def __init__(self, world: World, seen_from: str = "") -> None:
        """Look from everywhere, or from a camera of the model, to which other things may hide an object.

        Raises:
            WorldError: the model has no such camera.
        """
        self._world, self._camera = world, -1
        model = world.model
        if seen_from:
            self._camera = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, seen_from)
            if self._camera < 0:
                names = ", ".join(model.camera(i).name for i in range(model.ncam))
                raise WorldError(f"no camera {seen_from!r} in this world; it has {names}")
        self._bodies = {name: model.body(body).id for name, body in world.task.objects.items()}
        self._T_base_world = inverse(self._pose(model.body("robot0_base").id))
        self._groups = np.zeros(6, np.uint8)
        self._groups[VISUAL_GEOM_GROUP] = 1
        self._episode, self._rng = (-1, False), np.random.default_rng()
        self._under_way: deque[Report] = deque()

    @property
    def names(self) -> frozenset[str]:
        """What there is to see."""
        return frozenset(self._bodies)

    def look(self, flaws: Flaws) -> None:
        """See what there is at this instant; `due` returns it when it is time."""
        world = self._world
        if self._episode != (world.episode, world.held):  # what was seen of the world before is of no use any more
            self._episode, self._rng = (world.episode, world.held), np.random.default_rng((world.seed, _STREAM))
            self._under_way.clear()
        poses = {}
        for name, body in self._bodies.items():
            noise, missed = self._rng.standard_normal(6), self._rng.random() < flaws.lost_share
            if not (missed or name in flaws.hidden or self._is_covered(body)):
                poses[name] = _moved(self._T_base_world @ self._pose(body), noise, flaws)
        due_ns = world.time_ns + round(flaws.delay_s * 1e9)
        touching = frozenset(pair for pair in world.touching() if pair[0] in poses)
        report = Report(
            stamp_ns=world.time_ns, due_ns=due_ns, poses=poses, covariance=flaws.covariance(), touching=touching
        )
        self._under_way.append(report)

    def due(self) -> list[Report]:
        """Return the reports whose time has come, oldest first."""
        reports = []
        while self._under_way and self._under_way[0].due_ns <= self._world.time_ns:
            reports.append(self._under_way.popleft())
        return reports

    def _pose(self, body: int) -> Array:
        pose, data = np.eye(4), self._world.data
        pose[:3, :3], pose[:3, 3] = data.xmat[body].reshape(3, 3), data.xpos[body]
        return pose

    def _is_covered(self, body: int) -> bool:
        """Whether something else is on the way from the camera to the origin of a body."""
        if self._camera < 0:
            return False
        model, data = self._world.model, self._world.data
        mujoco.mj_camlight(model, data)
        eye: NDArray[np.float64] = data.cam_xpos[self._camera]
        hit = np.zeros(1, np.int32)
        share: float = mujoco.mj_ray(model, data, eye, data.xpos[body] - eye, self._groups, 1, body, hit)
        return bool(0.0 <= share < 1.0)


def _moved(pose: Array, noise: Array, flaws: Flaws) -> Array:
    moved = pose.copy()
    moved[:3, 3] += noise[:3] * flaws.noise_m
    moved[:3, :3] = rotation_matrix(noise[3:] * flaws.noise_rad) @ pose[:3, :3]
    return moved
