"""Objects as perception reports them: the newest pose of each, and the observation that is made of them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from d2ppo_core.geometry import Array, canonical_quat_xyzw, rotation_of
from d2ppo_core.objects import ObjectPart, Poses, names_in, object_state
from d2ppo_core.runtime.inference.missing import MissingObservationError

START_HEMISPHERE_XYZW = (0.0, 0.0, 1.0, 0.0)
"""Of q and -q, training's objects start with the one whose z is not negative: they stand upright, at any yaw."""
_MS = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Sightings:
    """What one source saw at one time: objects by name, 4×4 poses in the robot's base frame."""

    stamp_ns: int
    source: str
    poses: Mapping[str, Array]
    touching: Collection[tuple[str, str]] = ()
    """Objects that touch others, as far as the source can tell."""


class ObjectMemory:
    """The newest sighting of each object that a policy wants to know of.

    An object that several sources report is of none: which of them would be right?
    """

    def __init__(self, parts: Sequence[ObjectPart], T_world_base: Array, max_age_ns: int) -> None:
        """Remember the objects of a bundle's recipe; one without a recipe wants none.

        Args:
            parts: The recipe.
            T_world_base: Of the first arm, in whose base frame objects are told.
            max_age_ns: How long what was seen counts.
        """
        self._parts, self._T_world_base, self._max_age_ns = parts, T_world_base, max_age_ns
        self.names = names_in(parts)
        self._seen: dict[str, dict[str, tuple[int, Array]]] = {name: {} for name in self.names}
        self._touching: dict[str, set[tuple[str, str]]] = {name: set() for name in self.names}

    def push(self, sightings: Sightings) -> None:
        """Take what a source saw; objects that nobody asked for are passed over."""
        for name in self.names:
            if name in sightings.poses:
                self._seen[name][sightings.source] = (sightings.stamp_ns, sightings.poses[name])
                self._touching[name] = {pair for pair in sightings.touching if pair[0] == name}

    def stamps_ns(self, now_ns: int) -> list[int]:
        """Return when each object was seen last.

        Raises:
            MissingObservationError: One was never seen, too long ago, or by several sources.
        """
        return [self._stamp_ns(name, now_ns) for name in self.names]

    def _stamp_ns(self, name: str, now_ns: int) -> int:
        seen = self._seen[name]
        if not seen:
            raise MissingObservationError(f"object {name} was not seen yet")
        fresh = {source: one for source, one in seen.items() if now_ns - one[0] <= self._max_age_ns}
        if not fresh:
            age_ns = now_ns - max(stamp_ns for stamp_ns, _ in seen.values())
            raise MissingObservationError(f"object {name} is out of sight: last seen {age_ns / _MS:.0f} ms ago")
        self._seen[name] = fresh
        if len(fresh) > 1:
            raise MissingObservationError(
                f"object {name} is reported by {' and by '.join(sorted(fresh))}; stop all but one of them"
            )
        return next(iter(fresh.values()))[0]

    def state(self, T_world_hands: Sequence[Array], T_ee_site: Array) -> Array:
        """Return the observation ``object`` for hands that are here; `stamps_ns` has found all objects.

        Args:
            T_world_hands: Measured pose of each end effector.
            T_ee_site: The dataset's site in the end effector's frame.
        """
        hands = [Poses((T_world_hand @ T_ee_site)[:3, 3], _quat_wxyz(T_world_hand)) for T_world_hand in T_world_hands]
        objects = {name: self._poses(name) for name in self.names}
        touching = {pair for pairs in self._touching.values() for pair in pairs}
        return object_state(self._parts, objects, *hands, touching=touching)

    def _poses(self, name: str) -> Poses:
        _, T_base_object = next(iter(self._seen[name].values()))
        T_world_object = self._T_world_base @ T_base_object
        return Poses(T_world_object[:3, 3], _quat_wxyz(T_world_object))


def _quat_wxyz(transform: Array) -> Array:
    return np.roll(canonical_quat_xyzw(rotation_of(transform).as_quat(), START_HEMISPHERE_XYZW), 1)
