"""The two worlds of a user's own MJCF file: the shipped Panda stands where the file includes it.

`<include file="panda.xml"/>` brings the arm on its pedestal, the room, light and cameras, `<include file="table.xml"/>`
a table before it, whose top is 0.8 m above the floor. Training's world gets robosuite's arm, the live world the
identified one, both as Lift has them. The worlds are written to the cache, named by a hash of their text.
"""

from __future__ import annotations

import copy
import hashlib
import os
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from d2ppo_core.environment import cache_folder
from d2ppo_core.errors import WorldError

PANDA, TABLE = "panda.xml", "table.xml"
_LIFT = Path(__file__).parents[1] / "assets" / "lift"
_SOURCES = {"live": _LIFT / "lift.xml", "training": _LIFT / "robosuite.xml"}
_LIFTS_OWN = "cube_"
_ALLOWED = ("include", "worldbody", "asset", "default", "contact", "equality", "tendon")


@dataclass(frozen=True, kw_only=True)
class Worlds:
    """MJCF files, loadable with MuJoCo alone."""

    live: Path
    training: Path


def build_worlds(scene: Path) -> Worlds:
    """Make both worlds of a user's file, unless they are there already.

    Raises:
        WorldError: the file is no MJCF, includes no Panda, or says what is the Panda's to say.
    """
    root = _parsed(scene)
    texts = {kind: _world(scene, root, source) for kind, source in _SOURCES.items()}
    digest = hashlib.sha256("\n".join(texts.values()).encode()).hexdigest()
    folder = cache_folder() / f"world-{digest[:16]}"
    paths = {kind: folder / f"{kind}.xml" for kind in texts}
    for kind, path in paths.items():
        if not path.is_file():
            _write(path, texts[kind])
    return Worlds(**paths)


def _parsed(scene: Path) -> ET.Element:
    try:
        root = ET.parse(scene).getroot()
    except (ET.ParseError, OSError) as error:
        raise WorldError(f"{scene}: not an MJCF file: {error}") from error
    for node in root:
        if node.tag not in _ALLOWED:
            raise WorldError(f"{scene}: <{node.tag}> is the Panda's to say; a scene may have {', '.join(_ALLOWED)}")
    for default in root.findall("default"):
        if any(child.tag != "default" for child in default):
            raise WorldError(f"{scene}: a default without a class would change the Panda; use <default class=…>")
    included = [node.get("file") for node in root.findall("include")]
    if PANDA not in included:
        raise WorldError(f'{scene}: there is no arm in it; it needs <include file="{PANDA}"/>, the shipped Panda')
    if strange := [name for name in included if name not in (PANDA, TABLE)]:
        raise WorldError(f"{scene}: cannot include {strange[0]}; there are {PANDA} and {TABLE}")
    return root


def _world(scene: Path, root: ET.Element, source: Path) -> str:
    tree = ET.parse(source).getroot()
    tree.set("model", scene.parent.name)
    _make_absolute(tree, source.parent)
    asset, world = _only(tree, "asset"), _only(tree, "worldbody")
    for parent in (asset, world):
        for node in [n for n in parent if n.get("name", "").startswith(_LIFTS_OWN)]:
            parent.remove(node)
    if TABLE not in [node.get("file") for node in root.findall("include")]:
        for node in [n for n in world if n.get("name") == "table"]:
            world.remove(node)
    own = copy.deepcopy(root)
    _make_absolute(own, scene.parent)
    for parent in list(own.iter()):
        for geom in _seen_nowhere(parent):
            parent.append(_twin(geom))
    for node in own:
        if node.tag in ("asset", "worldbody"):
            (asset if node.tag == "asset" else world).extend(node)
        elif node.tag == "default":
            tree.insert(0, node)
        elif node.tag != "include":
            tree.append(node)
    ET.indent(tree)
    return ET.tostring(tree, encoding="unicode")


def _seen_nowhere(parent: ET.Element) -> Iterator[ET.Element]:
    """Solid geoms of the default group: they have mass and touch, and cameras look for the geoms of group 1."""
    if parent.tag in ("body", "worldbody"):
        yield from [geom for geom in parent.findall("geom") if geom.get("group", "0") == "0"]


def _twin(geom: ET.Element) -> ET.Element:
    """What the cameras see of a geom: weightless, and nothing touches it."""
    twin = copy.deepcopy(geom)
    for name in ("density", "name"):
        twin.attrib.pop(name, None)
    if geom.get("name"):
        twin.set("name", f"{geom.get('name')}_vis")
    twin.attrib.update(group="1", contype="0", conaffinity="0", mass="0")
    return twin


def _make_absolute(root: ET.Element, folder: Path) -> None:
    for node in root.iter():
        if node.tag != "include" and (file := node.get("file")):
            node.set("file", os.path.normpath(folder.absolute() / file))


def _only(root: ET.Element, tag: str) -> ET.Element:
    return next(root.iter(tag))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, encoding="utf-8", delete=False) as file:
        file.write(text)
    Path(file.name).replace(path)  # atomic: several processes may make the same world
