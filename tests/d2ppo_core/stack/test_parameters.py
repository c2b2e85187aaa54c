from pathlib import Path

import pytest

from d2ppo_core.errors import ConfigError
from d2ppo_core.stack.loader import load_stack
from d2ppo_core.stack.parameters import Parameter, parameter_table, read_table

ARM = "ros2_ws/src/d2ppo_nodes/d2ppo_nodes"
NODES = Path(__file__).parents[3] / ARM


def arm(**chosen: object) -> dict[str, object]:
    """Return the arm node's parameters of the simulated stack with these ones chosen."""
    pytest.importorskip("d2ppo_nodes", reason="the tables belong to the nodes' package (make setup)")
    stack = load_stack("sim", {f"arm.{name}": value for name, value in chosen.items()})
    return dict(stack.nodes[-1].parameters)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("home_q_rad", "[0, -0.785, 0, -2.356, 0, 1.571, 0.785]", [0.0, -0.785, 0.0, -2.356, 0.0, 1.571, 0.785]),
        ("speed_scale", "0", 0.0),
        ("stall_ticks", "4.0", 4),
        ("deadman", "true", True),
        ("poses", "ready: [0, 1]", "ready: [0, 1]"),
        ("cell", "1234", "1234"),
        ("use_sim_time", "false", False),
    ],
)
def test_what_a_user_writes_becomes_the_type_of_the_parameter(name: str, text: str, value: object) -> None:
    taken = arm(**{name: text})[name]
    assert taken == value and type(taken) is type(value)
    if isinstance(value, list):
        assert all(type(item) is float for item in taken)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("max_force_nn", "5", "arm: there is no parameter max_force_nn; did you mean max_force_n"),
        ("max_force_n", "100.5", r"arm: parameter max_force_n must be a number in \[1.0, 100.0\], got 100.5"),
        ("max_force_n", "strong", r"must be a number in \[1.0, 100.0\], got 'strong'"),
        ("max_force_n", ".nan", "must be a number in"),
        ("max_force_n", "true", "must be a number in"),
        ("max_force_n", "", "must be a number in"),
        ("max_force_n", "[", r"must be a number in \[1.0, 100.0\], got '\['"),
        ("stall_ticks", "3.5", r"must be a whole number in \[1, 50\], got 3.5"),
        ("deadman", "maybe", "must be true or false, got 'maybe'"),
        ("realtime", "hard", "must be one of 'auto', 'enforce', 'ignore', got 'hard'"),
        ("home_q_rad", "[1, 2]", "needs 7 numbers, got 2"),
        ("home_q_rad", "[1, 2, 3, 4, 5, 6, x]", "must be 7 numbers, got"),
    ],
)
def test_what_no_parameter_or_no_allowed_value_is_refused_before_anything_starts(
    name: str, value: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        arm(**{name: value})


def test_a_stack_files_own_parameters_are_checked_as_well(tmp_path: Path) -> None:
    pytest.importorskip("d2ppo_nodes", reason="the tables belong to the nodes' package (make setup)")
    path = tmp_path / "mine.yaml"
    node = "- {name: arm, package: d2ppo_nodes, executable: arm_node, parameters: {chunk_timeout: 0.2}}"
    path.write_text(f"namespace: panda\nnodes:\n{node}\n")
    with pytest.raises(ConfigError, match=r"mine.yaml: arm: there is no parameter chunk_timeout; did you mean chunk_t"):
        load_stack(str(path))


def test_a_list_that_is_left_open_is_not_handed_on() -> None:
    assert "workspace_min_m" not in arm(workspace_min_m="[]")


def test_a_serial_number_of_digits_stays_a_text() -> None:
    pytest.importorskip("d2ppo_nodes", reason="the tables belong to the nodes' package (make setup)")
    camera = load_stack("real", {"camera_serial": "012345"}).nodes[0]
    assert camera.parameters["serial"] == "012345"


def test_every_program_of_the_nodes_has_a_table_and_every_table_a_program() -> None:
    programs = {path.stem for path in NODES.glob("*_node.py")}
    tables = {path.stem for path in (NODES / "parameters").glob("*.yaml")}
    assert tables == programs | {"every_node"}
    for path in (NODES / "parameters").glob("*.yaml"):
        assert read_table(path)


def test_a_program_without_a_table_takes_everything_that_ros_can_hold() -> None:
    assert parameter_table("d2ppo_core", "none") is None
    assert parameter_table("no_such_package", "none") is None


def test_a_line_of_a_table_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"parameter a must be a number in \[1, 2\], got 3.0"):
        Parameter(name="a", default=3.0, description="", range=(1, 2))
    path = tmp_path / "t.yaml"
    path.write_text("a: {default: 1, descripton: x}")
    with pytest.raises(ConfigError, match="t.yaml: a must have default and description"):
        read_table(path)
