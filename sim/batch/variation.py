"""Objects that robosuite rebuilds for every episode: MuJoCo itself compiles the one body anew, in a world of its own.

Mass, inertia, bounding volumes and everything else derived from the geoms therefore come out as if the whole world
had been compiled, at a hundredth of the time.
"""

from __future__ import annotations

import copy
import xml.etree.ElementTree as ET
from collections.abc import Mapping

import mujoco
import numpy as np
from numpy.typing import NDArray

from d2ppo_core.errors import WorldError
from sim.assets.saved import is_decoration, model_path
from sim.batch.layout import Parameter, ParameterTable

_BODY = ("body_mass", "body_inertia", "body_ipos", "body_iquat", "body_invweight0")
_DOF = ("dof_invweight0", "dof_M0")
_GEOM = ("geom_size", "geom_pos", "geom_quat", "geom_rbound", "geom_aabb")


class BodyVariation:
    """The parameters of one free body as a function of its geoms."""

    parameters: tuple[Parameter, ...]
    """Which parameters of the whole world vary."""

    def __init__(self, task: str, model: mujoco.MjModel, body: str) -> None:
        """Take the body out of a task's saved world.

        Raises:
            WorldError: the world has no such free body.
        """
        self._tree, self._body = _alone(task, body)
        self._model = model
        alone = self._compile()
        self._ids = body_id, _ = model.body(body).id, alone.body(body).id
        if alone.nv != 6 or alone.nbody != 2:
            raise WorldError(f"body {body!r} must be free and have no children")
        dofs, geoms, volumes = (range(alone.nv), range(alone.ngeom), range(alone.nbvhstatic))
        first_dof, first_geom = int(model.body_dofadr[body_id]), int(model.body_geomadr[body_id])
        first_volume = int(model.body_bvhadr[body_id])
        first_alone = int(alone.body_bvhadr[self._ids[1]])
        self._volumes = [first_alone + i for i in volumes if first_alone + i < alone.nbvhstatic]
        self.parameters = (
            *(Parameter(name, (body_id,)) for name in _BODY),
            Parameter("body_subtreemass", (0, body_id)),
            *(Parameter(name, tuple(first_dof + i for i in dofs)) for name in _DOF),
            *(Parameter(name, tuple(first_geom + i for i in geoms)) for name in _GEOM),
            Parameter("bvh_aabb", tuple(first_volume + i for i in range(len(self._volumes)))),
            Parameter("meaninertia"),
        )

    def write(
        self, table: ParameterTable, row: NDArray[np.float64], geoms: Mapping[str, Mapping[str, tuple[float, ...]]]
    ) -> None:
        """Write the parameters for these geoms into a world's row.

        Args:
            table: where the parameters lie in the row.
            row: (P,) changed in place.
            geoms: name -> attributes, as in MJCF; the others keep the saved world's.

        Raises:
            WorldError: the body has no such geom.
        """
        alone = self._compile(geoms)
        body_id, alone_id = self._ids
        for name in _BODY:
            row[table.columns[name]] = getattr(alone, name)[alone_id].ravel()
        for name in (*_DOF, *_GEOM):
            row[table.columns[name]] = getattr(alone, name).ravel()
        row[table.columns["bvh_aabb"]] = alone.bvh_aabb[self._volumes].ravel()
        base, mass = self._model, alone.body_mass[alone_id]
        total = base.body_subtreemass[0] - base.body_mass[body_id] + mass
        row[table.columns["body_subtreemass"]] = total, mass
        first = int(base.body_dofadr[body_id])
        inertias = np.array(base.dof_M0)
        inertias[first : first + alone.nv] = alone.dof_M0
        row[table.columns["meaninertia"]] = np.add.accumulate(inertias)[-1] / base.nv  # in MuJoCo's order

    def _compile(self, geoms: Mapping[str, Mapping[str, tuple[float, ...]]] | None = None) -> mujoco.MjModel:
        for name, attributes in (geoms or {}).items():
            node = next((geom for geom in self._body.iter("geom") if geom.get("name") == name), None)
            if node is None:
                raise WorldError(f"body {self._body.get('name')!r} has no geom {name!r}")
            for key, values in attributes.items():
                node.set(key, " ".join(repr(float(value)) for value in values))
        return mujoco.MjModel.from_xml_string(ET.tostring(self._tree, encoding="unicode"))


def _alone(task: str, body: str) -> tuple[ET.Element, ET.Element]:
    """A world that holds nothing but this body, and the body in it."""
    whole = ET.parse(model_path(task)).getroot()
    found = next((node for node in whole.iter("body") if node.get("name") == body), None)
    if found is None:
        raise WorldError(f"the world of {task!r} has no body {body!r}")
    tree = ET.Element("mujoco")
    for tag in ("compiler", "option"):
        tree.extend(copy.deepcopy(whole.findall(tag)))
    world = ET.SubElement(tree, "worldbody")
    node = copy.deepcopy(found)
    for parent in node.iter():
        for geom in [g for g in parent.findall("geom") if is_decoration(g)]:
            parent.remove(geom)
    for geom in node.iter("geom"):
        geom.attrib.pop("material", None)
    world.append(node)
    return tree, node
