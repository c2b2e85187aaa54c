"""Numbers to be read out of a world, by name: what observations, rewards and success predicates are computed from."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from d2ppo_core.errors import WorldError

Rows = Mapping[str, NDArray[np.float64]]
"""Name of a tap -> (..., count) values; leading axes are worlds, or worlds and control steps."""


class TapKind(enum.IntEnum):
    """What a tap reads; the same values as `TapKind` of csrc/world.hpp."""

    QPOS = 0
    QVEL = 1
    BODY_POSITION = 2
    BODY_QUAT_WXYZ = 3
    SITE_POSITION = 4
    GEOM_POSITION = 5
    TOUCH = 6


_WIDTH = {
    TapKind.QPOS: 1,
    TapKind.QVEL: 1,
    TapKind.BODY_POSITION: 3,
    TapKind.BODY_QUAT_WXYZ: 4,
    TapKind.SITE_POSITION: 3,
    TapKind.GEOM_POSITION: 3,
    TapKind.TOUCH: 1,
}


@dataclass(frozen=True)
class Tap:
    """One thing to read."""

    kind: TapKind
    names: tuple[str, ...]
    """Joint(s), body, site or geom; for TOUCH the first group of geoms."""
    others: tuple[str, ...] = ()
    """The second group of geoms of a TOUCH."""


@dataclass(frozen=True, kw_only=True)
class ResolvedTaps:
    """Taps of one model."""

    entries: tuple[tuple[int, int, int], ...]
    """(kind, id, count) for the kernel; for TOUCH both numbers are bits of `geom_groups`."""
    columns: Mapping[str, slice]
    width: int
    """Numbers per row."""

    def split(self, rows: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Views of (..., width) rows by name."""
        return {name: rows[..., columns] for name, columns in self.columns.items()}


class GeomGroups:
    """Up to 32 groups of geoms, as a bit mask per geom."""

    def __init__(self, model: mujoco.MjModel) -> None:
        """No groups yet."""
        self._model = model
        self._bits: dict[tuple[str, ...], int] = {}
        self.masks = np.zeros(model.ngeom, np.uint32)

    def bit_of(self, geoms: tuple[str, ...]) -> int:
        """Bit of this group of geoms; a new group gets the next one."""
        if geoms not in self._bits:
            if len(self._bits) == 32:
                raise WorldError("a task may name at most 32 groups of geoms")
            self._bits[geoms] = len(self._bits)
            for geom in geoms:
                self.masks[_id(self._model, mujoco.mjtObj.mjOBJ_GEOM, geom)] |= np.uint32(1 << self._bits[geoms])
        return self._bits[geoms]


def resolve(model: mujoco.MjModel, taps: Mapping[str, Tap], groups: GeomGroups) -> ResolvedTaps:
    """Find the objects that the taps name.

    Raises:
        WorldError: the model has no such object.
    """
    entries: list[tuple[int, int, int]] = []
    columns: dict[str, slice] = {}
    width = 0
    for name, tap in taps.items():
        found = _entries(model, tap, groups)
        entries += found
        count = len(found) * _WIDTH[tap.kind]
        columns[name] = slice(width, width + count)
        width += count
    return ResolvedTaps(entries=tuple(entries), columns=columns, width=width)


def read(data: mujoco.MjData, taps: ResolvedTaps, masks: NDArray[np.uint32], row: NDArray[np.float64]) -> None:
    """Write the taps of one world, whose kinematics are up to date, into `row` (width,).

    Args:
        data: The world.
        taps: What to read.
        masks: (ngeom,) groups of each geom, of the `GeomGroups` that `taps` were resolved with.
        row: Is overwritten.
    """
    arrays = {
        TapKind.QPOS: data.qpos,
        TapKind.QVEL: data.qvel,
        TapKind.BODY_POSITION: data.xpos,
        TapKind.BODY_QUAT_WXYZ: data.xquat,
        TapKind.SITE_POSITION: data.site_xpos,
        TapKind.GEOM_POSITION: data.geom_xpos,
    }
    at = 0
    for kind, number, count in taps.entries:
        if kind == TapKind.TOUCH:
            row[at] = _touching(data, masks, number, count)
            at += 1
            continue
        row[at : at + count] = arrays[TapKind(kind)][number]
        at += count


def _touching(data: mujoco.MjData, masks: NDArray[np.uint32], first: int, second: int) -> bool:
    """Whether a geom of the first group touches one of the second."""
    touching = masks[data.contact.geom]
    one, other = (touching >> first) & 1, (touching >> second) & 1
    return bool(((one[:, 0] & other[:, 1]) | (one[:, 1] & other[:, 0])).any())


def _entries(model: mujoco.MjModel, tap: Tap, groups: GeomGroups) -> list[tuple[int, int, int]]:
    if tap.kind is TapKind.TOUCH:
        return [(tap.kind, groups.bit_of(tap.names), groups.bit_of(tap.others))]
    objects = mujoco.mjtObj
    if tap.kind in (TapKind.QPOS, TapKind.QVEL):
        addresses = model.jnt_qposadr if tap.kind is TapKind.QPOS else model.jnt_dofadr
        return [(tap.kind, int(addresses[_id(model, objects.mjOBJ_JOINT, joint)]), 1) for joint in tap.names]
    kinds = {
        TapKind.BODY_POSITION: objects.mjOBJ_BODY,
        TapKind.BODY_QUAT_WXYZ: objects.mjOBJ_BODY,
        TapKind.SITE_POSITION: objects.mjOBJ_SITE,
        TapKind.GEOM_POSITION: objects.mjOBJ_GEOM,
    }
    return [(tap.kind, _id(model, kinds[tap.kind], name), _WIDTH[tap.kind]) for name in tap.names]


def _id(model: mujoco.MjModel, kind: mujoco.mjtObj, name: str) -> int:
    found: int = mujoco.mj_name2id(model, kind, name)
    if found < 0:
        raise WorldError(f"the world has no {kind.name.removeprefix('mjOBJ_').lower()} {name!r}")
    return found
