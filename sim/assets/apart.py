"""Pairs of bodies that can never touch, whatever the joints do: collision detection need not look at them.

The motion stays the same to the last bit, because a pair without contacts contributes nothing. A test samples the
joints between the bodies of every pair and finds them apart.
"""

from __future__ import annotations

from collections.abc import Sequence

import mujoco

_LINKS = ((0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6))
"""Neighbours' neighbours, and link 1, which turns a millimetre above link 0 (robosuite lets MuJoCo check the two)."""
_SHOULDER = (1, 2)
"""Links that no table or pedestal is in reach of."""


def never_touching(model: mujoco.MjModel, furniture: Sequence[str] | None = None) -> list[tuple[str, str]]:
    """Names of the bodies of all such pairs in a world with Pandas.

    Args:
        model: The world.
        furniture: Fixed bodies that no shoulder can reach; None: all.
    """
    names = [model.body(i).name for i in range(model.nbody)]
    bases = [name.removesuffix("link0") for name in names if name.startswith("robot") and name.endswith("_link0")]
    pairs = [(f"{base}link{one}", f"{base}link{other}") for base in bases for one, other in _LINKS]
    beside = [body for body in _furniture(model) if furniture is None or body in furniture]
    for base in bases:
        pairs += [(body, f"{base}link{link}") for body in beside for link in _SHOULDER]
    return pairs


def _furniture(model: mujoco.MjModel) -> list[str]:
    """Fixed bodies with something to collide with, the robots' own bases and the floor excepted."""
    found = []
    for i in range(1, model.nbody):
        geoms = range(model.body_geomadr[i], model.body_geomadr[i] + model.body_geomnum[i])
        solid = any(model.geom_contype[g] or model.geom_conaffinity[g] for g in geoms)
        if model.body_weldid[i] == 0 and solid and not model.body(i).name.startswith("robot"):
            found.append(model.body(i).name)
    return found
