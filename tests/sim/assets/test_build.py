"""The committed world is what the command makes, small, and free of paths of the machine that made it."""

from pathlib import Path

import mujoco
import pytest

from sim.assets.build import build_lift
from sim.assets.saved import load_picture_model
from sim.tasks.lift import LIFT

MAX_MIB = 4.0


def test_committed_world_is_small_and_names_no_machine():
    folder = LIFT.model_path.parent
    size = sum(file.stat().st_size for file in folder.iterdir())
    assert size < MAX_MIB * 2**20
    text = LIFT.model_path.read_text()
    assert "/" + "home" not in text and "site-packages" not in text and 'file="/' not in text


def test_command_makes_the_committed_files_again(tmp_path: Path):
    pytest.importorskip("robosuite")
    build_lift(tmp_path)
    committed = LIFT.model_path.parent
    assert (tmp_path / "lift.xml").read_text() == LIFT.model_path.read_text()
    for file in tmp_path.glob("*.msh"):
        assert file.read_bytes() == (committed / file.name).read_bytes(), file.name


def test_textures_keep_robosuites_colour_space():
    deployed, training = mujoco.MjModel.from_xml_path(str(LIFT.model_path)), load_picture_model("lift")
    spaces = [
        {model.texture(i).name: int(model.tex_colorspace[i]) for i in range(model.ntex)}
        for model in (deployed, training)
    ]
    assert spaces[1].items() <= spaces[0].items()
    assert spaces[0]["texplane"] == mujoco.mjtColorSpace.mjCOLORSPACE_SRGB
