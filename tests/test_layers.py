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
        (["calibration"], "rclpy,d2ppo_nodes,sim,torch,mujoco,h5py"),
        (["calibration.cli"], "cv2,scipy,matplotlib"),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, list) else None,
)
def test_a_layer_loads_nothing_that_lies_above_it(packages: list[str], forbidden: str) -> None:
    command = [sys.executable, "-c", IMPORT_ALL, forbidden, *packages]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=ROOT)
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


ROOMS = {
    "calibration": (
        "board", "sheet", "optics", "capture", "views", "session", "intrinsics", "closed_form", "chain", "estimate",
        "start", "hand_eye", "check", "page", "cli",
    ),
    "sim": ("rendering", "tasks", "robosuite", "assets", "batch", "world", "fci", "experts", "evaluation", "cli"),
    "d2ppo_core": (
        "errors", "closing", "shipped", "task_folders", "extras", "interrupt", "environment", "yaml_file", "output",
        "recognise", "run_lock", "geometry", "representations", "actions", "objects", "config", "calibrated",
        "manifest", "bundle", "compatibility", "runtime.safety", "runtime.inference", "runtime.perception",
        "runtime.teleop", "runtime.control", "runtime.recording", "drivers",
        "stack", "doctor",
        "data", "losses", "models", "envs", "pretrain", "finetune", "analysis", "evaluation", "export", "experiments",
        "cli",
    ),
}  # fmt: skip
"""The rooms of a package, lowest first: none imports one above it."""


def import_graph(package: str) -> dict[str, set[str]]:
    """Return module -> modules of the same package that it imports, wherever it does and for whatever reason."""
    sources = {}
    for found in pkgutil.walk_packages([str(ROOT / package)], package + "."):
        path = ROOT.joinpath(*found.name.split("."))
        sources[found.name] = path / "__init__.py" if found.ispkg else path.with_suffix(".py")
    graph: dict[str, set[str]] = {name: set() for name in sources}
    for name, source in sources.items():
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                members = {f"{node.module}.{alias.name}" for alias in node.names}
                graph[name] |= {member if member in sources else node.module for member in members}
            elif isinstance(node, ast.Import):
                graph[name] |= {alias.name for alias in node.names}
        graph[name] &= set(sources)
    return graph


def room_of(module: str) -> str:
    """Return the room of a module: the name below its package, and below the run time the one below that."""
    _, *names = module.split(".")
    return ".".join(names[:2]) if names[0] == "runtime" else names[0]


@pytest.mark.parametrize("package", ROOMS)
def test_no_room_imports_one_above_it(package: str) -> None:
    order, upward = ROOMS[package], []
    for name, targets in import_graph(package).items():
        if name in (f"{package}.runtime", package):
            continue
        assert room_of(name) in order, f"{name} has no place in the order of rooms"
        for target in targets - {f"{package}.runtime", package}:
            if order.index(room_of(target)) > order.index(room_of(name)):
                upward.append(f"{name} imports {target}")
    assert upward == []


def test_nothing_lies_loose_where_there_are_rooms() -> None:
    loose = [path for folder in ("sim", "d2ppo_core/runtime") for path in (ROOT / folder).glob("*.py")]
    assert {path.name for path in loose} == {"__init__.py"}


@pytest.mark.parametrize("package", ["d2ppo_core", "sim", "calibration"])
def test_the_packages_have_no_import_cycle(package: str) -> None:
    graph = import_graph(package)
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, f"import cycle: {' -> '.join((*way, name))}"
        if name in done:
            return
        for target in sorted(graph[name] - {name}):
            visit(target, (*way, name))
        done.add(name)

    for name in sorted(graph):
        visit(name, ())
