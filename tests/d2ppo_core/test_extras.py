"""Whatever of the optional parts is missing, the answer is the command that brings it."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from d2ppo_core.extras import EXTRAS, WITHOUT_DEPENDENCIES, how_to_get

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OWN = {"d2ppo_core", "sim", "calibration", "d2ppo_nodes", "d2ppo_interfaces"}


def canonical(requirement: str) -> str:
    """Return the name in a requirement as an index compares them."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\[=]", requirement)[0]).lower()


def imported() -> set[str]:
    """Return what the packages and the nodes import from others, at their head or later."""
    found = set()
    for folder in ("d2ppo_core", "sim", "calibration", "ros2_ws/src/d2ppo_nodes/d2ppo_nodes"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    found |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                    found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names) - OWN


def test_every_module_that_is_imported_always_comes_along_or_belongs_to_an_extra() -> None:
    always = {canonical(line) for line in PROJECT["dependencies"]}
    owners = packages_distributions()
    optional = {name for name in imported() if not {canonical(dist) for dist in owners.get(name, [])} & always}
    assert "torch" in optional and "click" not in optional
    assert {name for name in optional if not how_to_get(name)} == set()


def test_each_extra_brings_the_modules_that_the_table_says() -> None:
    assert set(EXTRAS) <= set(PROJECT["optional-dependencies"])
    owners = packages_distributions()
    for extra, modules in EXTRAS.items():
        brings = {canonical(line).replace("ros-jazzy-", "ros-") for line in PROJECT["optional-dependencies"][extra]}
        here = {name: {canonical(dist) for dist in owners[name]} for name in modules if name in owners}
        if extra == "ros":  # rclpy brings some of its messages
            brings |= {dist for dists in here.values() for dist in dists if dist.startswith("ros-")}
        assert {name for name, dists in here.items() if not dists & brings} == set(), extra


def test_what_is_missing_is_named_with_its_command() -> None:
    assert how_to_get("torch.nn") == "torch is not installed here; run: pip install 'd2ppo-panda[train]'"
    assert how_to_get("no_such_module") == ""
    for name in WITHOUT_DEPENDENCIES:
        path = Path(how_to_get(name).rpartition("-r ")[2])
        assert path.is_file() and path.name == "requirements-no-deps.txt"


WITHOUT = """
import sys
class Without:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in MISSING else self.finder.find_spec(name, path, target)
    def __getattr__(self, name):
        return getattr(self.finder, name)
MISSING = sys.argv.pop(1).split(",")
sys.meta_path[:] = map(Without, sys.meta_path)
sys.argv[0] = "d2ppo"
from d2ppo_core.cli.main import main
main()
"""


def without(missing: str, *arguments: str) -> subprocess.CompletedProcess:
    """Run the program as it would run where some modules are not installed."""
    command = [sys.executable, "-c", WITHOUT, missing, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, env=os.environ | {"COLUMNS": "80"})


@pytest.mark.parametrize(
    ("missing", "arguments", "line"),
    [
        (
            "torch",
            ["evaluate", "lift", "lift_state"],
            "torch is not installed here; run: pip install 'd2ppo-panda[train]'",
        ),
        ("h5py", ["data", "info", "x"], "h5py is not installed here; run: pip install 'd2ppo-panda[sim]'"),
        ("mujoco", ["fci-server"], "mujoco is not installed here; run: pip install 'd2ppo-panda[sim]'"),
        ("rclpy", ["arm", "home"], "rclpy is not installed here; run: pip install 'd2ppo-panda[ros]', or source a ROS"),
        ("rclpy", ["up", "sim"], "rclpy is not installed here; run: pip install 'd2ppo-panda[ros]', or source a ROS"),
    ],
)
def test_a_verb_without_its_extra_is_one_line_and_no_traceback(missing: str, arguments: list[str], line: str) -> None:
    done = without(missing, *arguments)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert line in done.stderr


def test_with_no_extra_at_all_help_lists_every_verb() -> None:
    optional = ",".join(name for modules in EXTRAS.values() for name in modules)
    done = without(optional, "--help")
    assert done.returncode == 0, done.stderr
    verbs = [line.split()[0] for line in done.stdout.partition("Commands:")[2].strip().splitlines()]
    assert {"arm", "doctor", "evaluate", "pretrain", "up"} <= set(verbs)


def test_a_module_that_is_missing_by_a_fault_of_ours_stays_a_traceback() -> None:
    done = without("tqdm", "evaluate", "--help")
    assert done.returncode == 1 and "ModuleNotFoundError: No module named 'tqdm'" in done.stderr
