"""Who may import whom: the core knows no ROS and no simulator, the run time knows no torch, nobody knows the nodes."""

import ast
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

IMPORT_ALL = """
import importlib, pkgutil, sys
for name in sys.argv[2:]:
    module = importlib.import_module(name)
    for found in pkgutil.walk_packages(getattr(module, "__path__", []), name + "."):
        importlib.import_module(found.name)
forbidden = sys.argv[1].split(",")
loaded = sorted(name for name in sys.modules if name.split(".")[0] in forbidden)
sys.exit("loaded: " + ", ".join(loaded[:5]) if loaded else 0)
"""


@pytest.mark.parametrize(
    ("packages", "forbidden"),
    [
        (["d2ppo_core"], "rclpy,sim,calibration,d2ppo_nodes,d2ppo_interfaces,launch_ros,franka,franky,pyrealsense2"),
        (["d2ppo_core.runtime", "d2ppo_core.bundle"], "torch,rclpy,h5py,mujoco"),
        (
            ["d2ppo_core.drivers", "d2ppo_core.stack", "d2ppo_core.doctor"],
            "torch,rclpy,franka,franky,pyrealsense2,mujoco",
        ),
        (["d2ppo_core.cli.main", "d2ppo_core.cli.up", "d2ppo_core.cli.doctor"], "torch,rclpy,mujoco,matplotlib"),
        (["sim"], "rclpy,d2ppo_nodes,d2ppo_interfaces,calibration"),
        (["calibration"], "rclpy,d2ppo_nodes,sim,torch"),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, list) else None,
)
def test_a_layer_loads_nothing_that_lies_above_it(packages: list[str], forbidden: str) -> None:
    command = [sys.executable, "-c", IMPORT_ALL, forbidden, *packages]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]


def imported_packages(path: Path) -> set[str]:
    """Return the top-level packages that a file imports anywhere, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.partition(".")[0])
    return found


def offenders(folders: list[str], forbidden: set[str]) -> list[str]:
    paths = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    assert paths
    return [str(path.relative_to(ROOT)) for path in paths if imported_packages(path) & forbidden]


def test_nothing_imports_the_nodes() -> None:
    assert offenders(["d2ppo_core", "sim", "calibration", "launch"], {"d2ppo_nodes"}) == []


def test_not_even_a_function_of_the_core_imports_ros_the_simulator_or_the_calibration() -> None:
    assert offenders(["d2ppo_core"], {"rclpy", "d2ppo_interfaces", "sim", "calibration", "launch_ros"}) == []
    assert offenders(["sim", "calibration"], {"rclpy", "d2ppo_interfaces"}) == []


def test_the_run_time_and_the_drivers_import_torch_nowhere() -> None:
    assert offenders(["d2ppo_core/runtime", "d2ppo_core/drivers"], {"torch", "h5py", "tensorboard"}) == []


def test_the_packages_have_no_import_cycle() -> None:
    graph: dict[str, set[str]] = {}
    for package in ("d2ppo_core", "sim", "calibration"):
        for found in pkgutil.walk_packages([str(ROOT / package)], package + "."):
            path = ROOT.joinpath(*found.name.split("."))
            source = path / "__init__.py" if found.ispkg else path.with_suffix(".py")
            graph[found.name] = {
                node.module
                for node in ast.parse(source.read_text()).body
                if isinstance(node, ast.ImportFrom) and node.module and node.level == 0
            }
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, f"import cycle: {' -> '.join((*way, name))}"
        if name in done:
            return
        for target in sorted(graph.get(name, ())):
            visit(target, (*way, name))
        done.add(name)

    for name in sorted(graph):
        visit(name, ())
