"""Cell files: the shipped ones load, and what is wrong in one is said in one line."""

import dataclasses

import numpy as np
import pytest
import yaml

from d2ppo_core.errors import ConfigError
from d2ppo_core.runtime.safety.cell import load_cell
from d2ppo_core.runtime.safety.filter import SafetyFilter
from d2ppo_core.runtime.safety.kinematics import posture
from d2ppo_core.runtime.safety.robots import robot_named
from d2ppo_core.shipped import shipped_names

SMALL = """
robot: panda
workspace_min_m: [0.2, -0.5, 0.0]
workspace_max_m: [0.8, 0.5, 0.7]
table_height_m: 0
tool: {balls: [{position_m: [0, 0, 0.01]}]}
linear_speed_m_s: 0.4
angular_speed_rad_s: 1.5
"""


@pytest.mark.parametrize("path", shipped_names("cell").values(), ids=lambda path: path.stem)
def test_every_shipped_cell_loads_by_name_and_by_path_and_makes_a_filter(path):
    cell = load_cell(path.stem)
    assert cell == load_cell(str(path))
    SafetyFilter(cell, robot_named(cell.robot))


def test_a_small_cell_has_sensible_defaults(tmp_path):
    cell = load_cell(written(tmp_path, SMALL))
    assert (cell.joint_margin_rad, cell.step_m, cell.table_height_m) == (0.1, 0.03, 0.0)
    pose = posture(robot_named("panda").q_min_rad, cell.tool.T_flange_ee).pose
    assert pose.shape == (4, 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"colour": "red"},
            "unknown key colour; allowed: robot, client, base_position_m, base_yaw_rad, workspace_min_m",
        ),
        ({"client": "libfranka"}, "client: wanted one of auto, franky, franka_rs, got 'libfranka'"),
        ({"robot": "ur5"}, "robot: wanted one of panda, fr3, got 'ur5'"),
        ({"workspace_min_m": [0.9, 0, 0]}, "workspace: wanted two corners with min < max, got"),
        ({"workspace_min_m": [0.1, 0]}, "workspace_min_m: wanted 3 finite numbers, got"),
        ({"workspace_min_m": [0.1, 0, float("nan")]}, "workspace_min_m: wanted 3 finite numbers, got"),
        ({"linear_speed_m_s": "fast"}, "linear_speed_m_s: wanted float, got 'fast'"),
        ({"linear_speed_m_s": 2.0}, r"linear_speed_m_s: wanted a number in \[0.01, 1.7\], got 2.0"),
        ({"joint_margin_rad": float("nan")}, r"joint_margin_rad: wanted a number in \[0.01, 0.5\], got nan"),
        ({"tool": {"balls": []}}, "tool.balls: wanted at least one"),
        ({"tool": {"quat_xyzw": [0, 0, 0, 2], "balls": [{"position_m": [0, 0, 0]}]}}, "wanted a unit quaternion"),
        ({"keep_out": {"cones": []}}, "keep_out: unknown key cones; allowed: boxes, spheres, capsules"),
        ({"keep_out": {"boxes": [{"centre_m": [0, 0, 0], "size_m": [1, 0, 1]}]}}, "size_m: wanted three lengths > 0"),
        ({"keep_out": {"spheres": [{"centre_m": [0, 0, 0], "radius_m": -1}]}}, "radius_m: wanted a number in"),
        ({"arm_balls": [{"link": 9, "position_m": [0, 0, 0]}]}, "arm_balls.link: wanted 1 to 7, got 9"),
    ],
)
def test_a_wrong_key_or_value_is_one_line_that_names_wanted_and_got(tmp_path, changes, message):
    path = written(tmp_path, yaml.safe_dump(yaml.safe_load(SMALL) | changes))
    with pytest.raises(ConfigError, match=message) as caught:
        load_cell(path)
    assert "\n" not in str(caught.value) and str(caught.value).startswith(path)


def test_a_missing_key_file_or_name_is_said(tmp_path):
    with pytest.raises(ConfigError, match="missing 1 required keyword-only argument: 'table_height_m'"):
        load_cell(written(tmp_path, SMALL.replace("table_height_m: 0", "")))
    with pytest.raises(ConfigError, match="there is no cell file .*none.yaml"):
        load_cell(str(tmp_path / "none.yaml"))
    with pytest.raises(ConfigError, match="there is no cell 'labb'; known: .*example_lab.*sim_lift"):
        load_cell("labb")
    with pytest.raises(ConfigError, match="not a YAML file"):
        load_cell(written(tmp_path, "a: [1"))


def test_a_cell_like_another_differs_only_in_what_it_says(tmp_path):
    fr3, panda = load_cell("sim_lift_fr3"), load_cell("sim_lift")
    assert fr3 == dataclasses.replace(panda, robot="fr3", linear_acceleration_m_s2=9.0)
    small = written(tmp_path, SMALL)
    (tmp_path / "other.yaml").write_text("like: cell.yaml\ntable_height_m: 0.1\n")
    assert load_cell(str(tmp_path / "other.yaml")) == dataclasses.replace(load_cell(small), table_height_m=0.1)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("like: 3", "like: wanted the name or path of another cell, got 3"),
        ("like: nowhere", "there is no cell 'nowhere'; known:"),
        ("like: cell.yaml", "cell.yaml -> cell.yaml goes round in a circle"),
        ("like: sim_lift\nbase_position_m: [1, 2]", "base_position_m: wanted 3 finite numbers"),
    ],
)
def test_a_cell_like_nothing_is_said(tmp_path, line, message):
    with pytest.raises(ConfigError, match=message):
        load_cell(written(tmp_path, line))


def test_a_cell_says_where_its_base_stands():
    left, right = load_cell("sim_transport_left").T_world_base, load_cell("sim_transport_right").T_world_base
    ahead = np.array([0.81, 0.0, 0.0, 1.0])
    np.testing.assert_allclose(left @ ahead, right @ ahead, atol=1e-12)  # the arms meet in the middle
    assert load_cell("example_lab").T_world_base is None


def test_a_cell_cannot_be_changed_while_the_arm_moves(tmp_path):
    with pytest.raises(dataclasses.FrozenInstanceError):
        load_cell(written(tmp_path, SMALL)).table_height_m = -1.0


def written(folder, text: str) -> str:
    path = folder / "cell.yaml"
    path.write_text(text)
    return str(path)
