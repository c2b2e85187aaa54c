"""The observation ``object``: poses of named objects, put together by a recipe that training and robot share.

robosuite's tasks observe their objects in their own orders and frames. Here that is data: the simulator computes
``object`` by a recipe, a bundle carries it, and on a robot it is computed by the same function from perceived poses.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from d2ppo_core.errors import BundleError
from d2ppo_core.geometry import Array

KEY = "object"
"""Name of the observation, as in robomimic datasets."""
OBJECT_PARTS_KEY = "object_parts"
"""What a dataset of a user's own task, and what is trained on it, call the recipe."""
POSITION, QUAT, UPPER_QUAT, TOUCH = "position", "quat_xyzw", "upper_quat_xyzw", "touch"
WORLD, AT_HAND, HAND = "world", "at_hand", "hand"
_SIZES = {POSITION: 3, QUAT: 4, UPPER_QUAT: 4, TOUCH: 1}
_FRAMES = {POSITION: (WORLD, AT_HAND, HAND), QUAT: (WORLD, HAND), UPPER_QUAT: (WORLD,), TOUCH: (WORLD,)}


class Poses(NamedTuple):
    """Poses of one thing in the world, in any number of worlds or steps."""

    position_m: Array
    """(..., 3)."""
    quat_wxyz: Array
    """(..., 4)."""


@dataclass(frozen=True, kw_only=True)
class ObjectPart:
    """One part of the observation ``object``.

    Attributes:
        name: Of the object.
        what: ``position`` (3 numbers, m) or ``quat_xyzw`` (4). In the hand's frame a quaternion's w is not negative;
            in the world its sign is the simulator's in training, and on a robot the one by which z is not negative,
            with which the simulator's objects start. ``upper_quat_xyzw`` (4): w is not negative. ``touch`` (1): 1
            where it touches ``other``, 0 where it does not or nobody can tell.
        frame: ``world``, ``at_hand`` (the world's axes, from the hand's position) or ``hand``.
        arm: Whose hand.
        point_m: Which point of the object, in its own frame; empty: its origin.
        other: The second object of a touch.
    """

    name: str
    what: str
    frame: str = WORLD
    arm: int = 0
    point_m: tuple[float, ...] = ()
    other: str = ""

    def __post_init__(self) -> None:
        """Raise BundleError for a part that nobody could compute."""
        if not self.name:
            raise BundleError("a part of the observation object needs the name of an object")
        if self.arm < 0 or (self.point_m and (len(self.point_m) != 3 or self.what != POSITION)):
            raise BundleError(
                f"object {self.name}: wanted an arm >= 0 and, for a position, a point_m of 3 numbers, got "
                f"{self.arm} and {list(self.point_m)}"
            )
        if bool(self.other) != (self.what == TOUCH):
            raise BundleError(f"object {self.name}: exactly a touch names an other object, got {self.other!r}")
        if self.frame not in _FRAMES.get(self.what, ()):
            known = "; ".join(f"{what} in {', '.join(frames)}" for what, frames in _FRAMES.items())
            raise BundleError(f"object {self.name}: no part {self.what} in frame {self.frame}; there are {known}")

    @property
    def size(self) -> int:
        """Numbers of this part."""
        return _SIZES[self.what]


def parts_beside_the_hand(name: str) -> tuple[ObjectPart, ...]:
    """Pose in the world, then the position from the hand, along the world's axes."""
    return (
        ObjectPart(name=name, what=POSITION),
        ObjectPart(name=name, what=QUAT),
        ObjectPart(name=name, what=POSITION, frame=AT_HAND),
    )


def parts_in_the_hand(name: str) -> tuple[ObjectPart, ...]:
    """Pose in the hand's frame, then in the world."""
    return (
        ObjectPart(name=name, what=POSITION, frame=HAND),
        ObjectPart(name=name, what=QUAT, frame=HAND),
        ObjectPart(name=name, what=POSITION),
        ObjectPart(name=name, what=QUAT),
    )


LID_HANDLE_M, BIN_FLOOR_M = (0.0, 0.0, 0.005), (0.0, 0.0, -0.07)


def _transport() -> tuple[ObjectPart, ...]:
    """Hammer, trash, the lid's handle, the bins' floors, what lies on them, and four of them from the hands."""
    handle = {"lid": LID_HANDLE_M}
    poses = [
        part
        for name in ("hammer", "trash", "lid")
        for part in (
            ObjectPart(name=name, what=POSITION, point_m=handle.get(name, ())),
            ObjectPart(name=name, what=UPPER_QUAT),
        )
    ]
    bins = [ObjectPart(name=name, what=POSITION, point_m=BIN_FLOOR_M) for name in ("target_bin", "trash_bin")]
    touches = [
        ObjectPart(name="hammer", what=TOUCH, other="target_bin"),
        ObjectPart(name="trash", what=TOUCH, other="trash_bin"),
    ]
    from_hands = [
        ObjectPart(name=name, what=POSITION, frame=AT_HAND, arm=arm, point_m=handle.get(name, ()))
        for arm, name in ((0, "hammer"), (0, "lid"), (1, "hammer"), (1, "trash"))
    ]
    return (*poses, *bins, *touches, *from_hands)


OBJECT_PARTS: Mapping[str, tuple[ObjectPart, ...]] = {
    "lift": parts_beside_the_hand("cube"),
    "can": parts_in_the_hand("can"),
    "square": parts_in_the_hand("nut"),
    "transport": _transport(),
}
"""Task -> its recipe. Transport's holds touches, which the simulator tells and cameras do not."""


def recipe_of(task: str, size: int) -> tuple[ObjectPart, ...]:
    """The recipe of a task, if it makes so many numbers; else nobody knows what they are, and there is none."""
    parts = OBJECT_PARTS.get(task, ())
    return parts if size_of(parts) == size else ()


def recipe_from(record: object) -> tuple[ObjectPart, ...]:
    """The recipe that a dataset or a checkpoint carries, a list of mappings; empty where it carries none.

    Raises BundleError for a part that nobody could compute.
    """
    parts = record if isinstance(record, list) else []
    try:
        return tuple(ObjectPart(**{**part, "point_m": tuple(part.get("point_m", ()))}) for part in parts)
    except (TypeError, AttributeError) as error:
        raise BundleError(f"{OBJECT_PARTS_KEY}: wanted name, what and frame of each part, got {record!r}") from error


def size_of(parts: Sequence[ObjectPart]) -> int:
    """Numbers of the observation."""
    return sum(part.size for part in parts)


def names_in(parts: Sequence[ObjectPart]) -> tuple[str, ...]:
    """Names of the objects, each once, in the order of their first parts."""
    return tuple(dict.fromkeys(part.name for part in parts))


def object_state(
    parts: Sequence[ObjectPart],
    objects: Mapping[str, Poses],
    *hands: Poses,
    touching: Collection[tuple[str, str]] = (),
) -> Array:
    """Put the observation ``object`` together.

    Args:
        parts: The recipe, at least one part.
        objects: Poses of the objects that it names, in the world.
        hands: Of each arm, the grip site's position and the hand's orientation, in the world.
        touching: Objects that touch each other, by the names that the recipe has for them.

    Returns:
        (..., size) in the recipe's order, of the leading axes that the poses have.
    """
    return np.concatenate([_part(part, objects[part.name], hands[part.arm], touching) for part in parts], axis=-1)


def _part(part: ObjectPart, thing: Poses, hand: Poses, touching: Collection[tuple[str, str]]) -> Array:
    if part.what == TOUCH:
        return np.full((*thing.position_m.shape[:-1], 1), float((part.name, part.other) in touching))
    if part.what == UPPER_QUAT:
        return xyzw(upper_half(thing.quat_wxyz))
    if part.what == QUAT:
        if part.frame == WORLD:
            return xyzw(thing.quat_wxyz)
        return xyzw(upper_half(multiply(conjugate(hand.quat_wxyz), thing.quat_wxyz)))
    point_m = thing.position_m
    if part.point_m:
        point_m = point_m + rotate_back(conjugate(thing.quat_wxyz), np.asarray(part.point_m))
    if part.frame == WORLD:
        return point_m
    from_hand = point_m - hand.position_m
    return from_hand if part.frame == AT_HAND else rotate_back(hand.quat_wxyz, from_hand)


def conjugate(quat_wxyz: Array) -> Array:
    """Inverse of unit quaternions (..., 4)."""
    return np.asarray(quat_wxyz * np.array([1.0, -1.0, -1.0, -1.0]))


def multiply(one_wxyz: Array, other_wxyz: Array) -> Array:
    """Products of quaternions (..., 4)."""
    w1, x1, y1, z1 = np.moveaxis(one_wxyz, -1, 0)
    w2, x2, y2, z2 = np.moveaxis(other_wxyz, -1, 0)
    product = (
        w1 * w2 - x1 * x2 - y1 * y2 - z1 * z2,
        w1 * x2 + x1 * w2 + y1 * z2 - z1 * y2,
        w1 * y2 - x1 * z2 + y1 * w2 + z1 * x2,
        w1 * z2 + x1 * y2 - y1 * x2 + z1 * w2,
    )
    return np.stack(product, axis=-1)


def rotate_back(quat_wxyz: Array, vector: Array) -> Array:
    """Vectors (..., 3) in the frames that these quaternions (..., 4) turn the world's into."""
    scalar, axis = quat_wxyz[..., :1], -quat_wxyz[..., 1:]
    twice = 2.0 * np.cross(axis, vector)
    return np.asarray(vector + scalar * twice + np.cross(axis, twice))


def upper_half(quat_wxyz: Array) -> Array:
    """The one of q and -q whose w is not negative, as robosuite makes quaternions from matrices."""
    return np.where(quat_wxyz[..., :1] < 0.0, -quat_wxyz, quat_wxyz)


def xyzw(quat_wxyz: Array) -> Array:
    """Reorder (..., 4) quaternions; the sign stays."""
    return np.concatenate([quat_wxyz[..., 1:], quat_wxyz[..., :1]], axis=-1)
