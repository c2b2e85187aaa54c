"""The Panda's identified dynamics, read from the URDF of `example-robot-data` (BSD-3-Clause)."""

from __future__ import annotations

import importlib.metadata
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

from d2ppo_core.errors import WorldError


@dataclass(frozen=True, kw_only=True)
class Inertial:
    """Mass distribution of one link, in the frame of that link."""

    mass_kg: float
    com_m: tuple[float, ...]
    """(3,)"""
    inertia_kg_m2: tuple[float, ...]
    """ixx, iyy, izz, ixy, ixz, iyz about the centre of mass, axes of the link (MJCF's fullinertia order)."""


def panda_inertials() -> dict[str, Inertial]:
    """Inertials by URDF link name without its prefix: link0 ... link7, hand, leftfinger, rightfinger.

    Raises:
        WorldError: example-robot-data is not installed.
    """
    inertials = {}
    for link in ET.parse(_urdf_path()).getroot().iter("link"):
        node = link.find("inertial")
        if node is None:
            continue
        origin, mass, inertia = node.find("origin"), node.find("mass"), node.find("inertia")
        if mass is None or inertia is None:
            raise WorldError(f"link {link.get('name')}: the inertial has no mass or no inertia")
        if origin is not None and any(float(v) for v in origin.get("rpy", "0 0 0").split()):
            raise WorldError(f"link {link.get('name')}: a rotated inertial frame is not supported")
        xyz = "0 0 0" if origin is None else origin.get("xyz", "0 0 0")
        inertials[link.get("name", "").removeprefix("panda_")] = Inertial(
            mass_kg=float(mass.attrib["value"]),
            com_m=tuple(float(v) for v in xyz.split()),
            inertia_kg_m2=tuple(float(inertia.attrib[k]) for k in ("ixx", "iyy", "izz", "ixy", "ixz", "iyz")),
        )
    return inertials


def _urdf_path() -> Path:
    try:
        files = importlib.metadata.files("example-robot-data") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.as_posix().endswith("panda_description/urdf/panda.urdf"):
            return Path(str(file.locate()))
    raise WorldError("the Panda's URDF is missing; install it with: pip install example-robot-data==6.0.0")
