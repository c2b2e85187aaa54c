"""What a stack is set up for, and whether a bundle's policy belongs there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from d2ppo_core.errors import BundleError
from d2ppo_core.geometry import Array, step_between
from d2ppo_core.manifest import Manifest

_APART_M, _APART_RAD = 0.005, 0.01
"""A base that stands or is turned further off than this is another cell's."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """As far as a policy has to know; what is left open fits every bundle."""

    task: str = ""
    """What the stack was started for."""
    num_arms: int = 1
    """Arms that the policy's chunks reach."""
    cameras: tuple[str, ...] = ()
    """Their names on the graph."""
    cell: str = ""
    """What the cell is called, or those of several arms, joined by `+`."""
    T_world_base: Array | None = None
    """4×4 pose of the robot's base in the world of the observations, by the cell; (arms, 4, 4) of several."""

    def misfits(self, manifest: Manifest, seen: Mapping[str, str]) -> str:
        """Say in one line, both sides named, why a bundle does not belong here; empty when it does.

        Args:
            manifest: The bundle's.
            seen: Camera of the manifest -> its name on the graph, after remappings.
        """
        found = []
        if self.task and manifest.task != self.task:
            found.append(f"is of task {manifest.task}, the stack of {self.task} (choose it with task:={manifest.task})")
        if manifest.num_arms != self.num_arms:
            found.append(f"moves {_arms(manifest.num_arms)}, the stack {_arms(self.num_arms)}")
        lacking = [
            camera for camera in manifest.cameras if self.cameras and seen.get(camera, camera) not in self.cameras
        ]
        if lacking:
            found.append(f"sees through {', '.join(lacking)}, the stack's cameras are {', '.join(self.cameras)}")
        stands = np.empty((0, 4, 4)) if self.T_world_base is None else self.T_world_base.reshape(-1, 4, 4)
        for trained, base, cell in zip(manifest.bases, stands, self.cell.split("+"), strict=False):
            if _apart(trained, base):
                found.append(
                    f"has its base at {_place(trained)} in the world (T_world_base), the cell {cell} at {_place(base)}"
                )
        return f"bundle {manifest.name} {'; it '.join(found)}" if found else ""

    def check(self, manifest: Manifest, seen: Mapping[str, str]) -> None:
        """Raise BundleError for a bundle that does not belong here; arguments as `misfits`."""
        if misfits := self.misfits(manifest, seen):
            raise BundleError(f"{misfits}; force:=true runs it all the same")


def _apart(one: Array, other: Array) -> bool:
    step = step_between(one, other)
    return bool(np.linalg.norm(step[:3]) > _APART_M or np.linalg.norm(step[3:]) > _APART_RAD)


def _place(pose: Array) -> str:
    x, y, z = (f"{value:.3f}".rstrip("0").rstrip(".") for value in pose[:3, 3] + 0.0)
    return f"({x}, {y}, {z}) m, {np.degrees(np.arctan2(pose[1, 0], pose[0, 0])):.0f}°"


def _arms(count: int) -> str:
    return "one arm" if count == 1 else f"{count} arms"
