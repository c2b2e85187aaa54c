"""What a ROS package imports stands in its package.xml, so that rosdep and a foreign workspace find it."""

import ast
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "ros2_ws" / "src"
BY_PIP = {"d2ppo_core", "sim"}
"""Of the Python package d2ppo-panda, which no package.xml can name."""


def imported(folder: Path) -> set[str]:
    """Return the top-level packages that the files of a folder import, at their head or later."""
    found = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names)


@pytest.mark.parametrize(
    ("package", "folder", "own"),
    [
        ("d2ppo_nodes", SOURCES / "d2ppo_nodes" / "d2ppo_nodes", {"d2ppo_nodes"}),
        ("d2ppo_bringup", ROOT / "launch", {"stack_launch"}),
    ],
)
def test_every_import_is_an_exec_depend(package: str, folder: Path, own: set[str]) -> None:
    declared = {tag.text for tag in ElementTree.parse(SOURCES / package / "package.xml").iter("exec_depend")}
    missing = {name for name in imported(folder) - own - BY_PIP if not declared & {name, f"python3-{name.lower()}"}}
    assert missing == set()


def test_every_message_package_that_the_interfaces_use_is_a_dependency_of_theirs() -> None:
    folder = SOURCES / "d2ppo_interfaces"
    depends = {tag.text for tag in ElementTree.parse(folder / "package.xml").iter("depend")}
    fields = [
        line.split("#")[0]
        for path in folder.rglob("*.*")
        if path.suffix in (".msg", ".srv", ".action")
        for line in path.read_text().splitlines()
    ]
    used = {line.split("/")[0].strip() for line in fields if "/" in line}
    assert used and used <= depends
    assert "action_msgs" in depends
