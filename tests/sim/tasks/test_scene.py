"""A scene and the shipped Panda become two worlds, which are made once."""

import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import mujoco
import numpy as np
import pytest

from d2ppo_core.environment import cache_folder
from d2ppo_core.errors import WorldError
from sim.tasks.lift import LIFT
from sim.tasks.scene import build_worlds

TEXTURE = Path(LIFT.model_path.parent / "red-wood.png")
SCENE = """<mujoco>
  <include file="panda.xml"/>
  <asset><texture name="wood" type="2d" file="wood.png"/><material name="wood" texture="wood"/></asset>
  <default><default class="heavy"><geom density="5000" rgba="1 0 0 1"/></default></default>
  <worldbody>
    <geom name="plate" type="box" size="0.1 0.1 0.01" pos="0 0 0.5"/>
    <body name="brick" pos="0 0 0.6">
      <freejoint name="brick_joint"/>
      <geom name="solid" class="heavy" type="box" size="0.02 0.02 0.02"/>
      <geom name="seen" type="box" size="0.01 0.01 0.03" group="1"
        contype="0" conaffinity="0" mass="0" material="wood"/>
    </body>
  </worldbody>
</mujoco>"""


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A scene without a table, with a class of its own and a texture beside it; the cache is empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "bricks"
    folder.mkdir()
    shutil.copy(TEXTURE, folder / "wood.png")
    (folder / "world.xml").write_text(SCENE, encoding="utf-8")
    return folder / "world.xml"


def names(model: mujoco.MjModel) -> set[str]:
    return {model.body(i).name for i in range(model.nbody)}


def test_both_worlds_hold_what_the_scene_has_and_nothing_of_lifts(scene: Path):
    worlds = build_worlds(scene)
    for path in (worlds.live, worlds.training):
        model = mujoco.MjModel.from_xml_path(str(path))
        assert {"brick", "robot0_link7", "gripper0_right_leftfinger"} <= names(model)
        assert not {"table", "cube_main"} & names(model)
        assert model.body("brick").mass[0] == pytest.approx(5000 * 0.04**3, rel=1e-6)  # kg; the class is in force
        assert {model.camera(i).name for i in range(model.ncam)} >= {"agentview", "robot0_eye_in_hand"}
        assert model.mat_texid[model.material("wood").id].max() >= 0


def test_what_touches_is_seen_too_and_what_is_only_seen_stays_as_it_is(scene: Path):
    model = mujoco.MjModel.from_xml_path(str(build_worlds(scene).live))
    for name in ("plate", "solid"):
        solid, twin = model.geom(name), model.geom(f"{name}_vis")
        assert solid.contype[0] == 1 and solid.group[0] == 0
        assert twin.contype[0] == twin.conaffinity[0] == 0 and twin.group[0] == 1
        assert np.array_equal(solid.size, twin.size) and np.array_equal(solid.rgba, twin.rgba)
    assert mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_GEOM, "seen_vis") < 0


def test_the_arm_is_lifts_in_either_world(scene: Path):
    worlds = build_worlds(scene)
    for path, shipped in ((worlds.live, LIFT.model_path), (worlds.training, LIFT.training_path)):
        model, lift = (mujoco.MjModel.from_xml_path(str(file)) for file in (path, shipped))
        for i in range(1, 8):
            link = f"robot0_link{i}"
            assert model.body(link).mass == lift.body(link).mass
            assert np.array_equal(model.body(link).inertia, lift.body(link).inertia)
        assert model.opt.timestep == lift.opt.timestep and model.nu == lift.nu
        assert np.array_equal(model.actuator_ctrlrange, lift.actuator_ctrlrange)


def test_the_worlds_are_made_once_and_anew_when_the_scene_changes(scene: Path):
    first = build_worlds(scene)
    made_ns = first.live.stat().st_mtime_ns
    assert first.live.is_relative_to(cache_folder())
    assert build_worlds(scene) == first and first.live.stat().st_mtime_ns == made_ns
    scene.write_text(SCENE.replace("0.02 0.02 0.02", "0.03 0.03 0.03"), encoding="utf-8")
    assert build_worlds(scene) != first and first.live.is_file()
    assert [path for path in cache_folder().rglob("*") if path.suffix not in ("", ".xml")] == []  # nothing half-written


def test_files_of_the_scene_are_found_from_wherever_the_worlds_lie(scene: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(scene.parent)
    worlds = build_worlds(Path("world.xml"))
    files = {node.get("file") for node in ET.parse(worlds.training).getroot().iter("texture") if node.get("file")}
    assert str(scene.parent / "wood.png") in files and all(Path(file).is_absolute() for file in files)


def test_a_scene_that_is_not_there_is_one_line(tmp_path: Path):
    with pytest.raises(WorldError, match=r"world\.xml: not an MJCF file: .*No such file"):
        build_worlds(tmp_path / "world.xml")
