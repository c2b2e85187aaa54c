"""Both ways to run a stack, ``ros2 launch`` and ``d2ppo up``, start the same graph."""

import ast
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from d2ppo_core.stack.loader import load_stack
from d2ppo_core.stack.process import node_command

LAUNCH = Path(__file__).parents[2] / "launch"
SOURCES = Path(__file__).parents[2] / "ros2_ws" / "src"
STACKS = tuple(sorted(path.stem for path in (LAUNCH / "stacks").glob("*.yaml")))
CHOSEN: dict[str, dict[str, Any]] = {
    "sim": {"robot_address": "127.0.0.9", "real_time": False},
    "sim_markers": {"robot_address": "127.0.0.9", "real_time": False},
    "real": {"robot_address": "10.0.0.1"},
    "teleop": {"device_path": "/dev/input/event7", "use_sim_time": True},
    "sim_transport": {"left_address": "127.0.0.8", "right_address": "127.0.0.9", "real_time": False},
    "real_transport": {"left_address": "10.0.0.1", "right_address": "10.0.1.1"},
}


class RclLoader(yaml.SafeLoader):
    """Reads a list as one, also where launch_ros tagged it as Python's tuple; rcl does not look at tags."""


RclLoader.add_constructor("tag:yaml.org,2002:python/tuple", yaml.SafeLoader.construct_sequence)


def read_parameters(path: str) -> dict[str, Any]:
    """Return the parameters of a file the way rcl reads it for its only node."""
    (node,) = yaml.load(Path(path).read_text(), Loader=RclLoader).values()
    return node["ros__parameters"]


def parsed(command: list[str]) -> dict[str, Any]:
    """Return what a command line of the runner starts: program, full name, remappings and parameters."""
    start = command.index("--ros-args")
    package, _, executable = command[start - 1].partition(".")
    remappings, parameters = {}, {}
    flags = iter(command[start + 1 :])
    for flag in flags:
        value = next(flags)
        if flag == "-r":
            source, _, remappings[source] = value.partition(":=")
        else:
            parameters = read_parameters(value)
    name = f"{remappings.pop('__ns')}/{remappings.pop('__node')}"
    return {
        "program": (package, executable),
        "name": name,
        "remappings": sorted(remappings.items()),
        "parameters": parameters,
    }


def runner_graph(name: str, folder: Path) -> list[dict[str, Any]]:
    stack = load_stack(name, CHOSEN[name])
    return [parsed(node_command(node, stack.namespace, folder / f"{node.name}.yaml")) for node in stack.nodes]


def launch_graph(name: str) -> list[dict[str, Any]]:
    """Return what the launch file's Node actions start, with their substitutions performed by launch itself."""
    from launch import LaunchContext
    from launch.actions import OpaqueFunction
    from launch_ros.actions import Node

    spec = importlib.util.spec_from_file_location(f"{name}_launch", LAUNCH / f"{name}.launch.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    context = LaunchContext()
    context.launch_configurations.update({key: str(value).lower() for key, value in CHOSEN[name].items()})
    graph = []
    for entity in module.generate_launch_description().entities:
        actions = entity.execute(context) or []
        made = actions if isinstance(entity, OpaqueFunction) else []
        for action in [action for action in made if isinstance(action, Node)]:
            action._perform_substitutions(context)
            files = action._Node__expanded_parameter_arguments
            graph.append(
                {
                    "program": (action.node_package, action.node_executable),
                    "name": action.node_name,
                    "remappings": sorted(action.expanded_remapping_rules or []),
                    "parameters": {key: value for path, _ in files for key, value in read_parameters(path).items()},
                }
            )
    return graph


@pytest.mark.launch_ros
@pytest.mark.parametrize("name", STACKS)
def test_ros2_launch_and_the_runner_start_the_same_graph(name: str, tmp_path: Path) -> None:
    started = runner_graph(name, tmp_path)
    assert launch_graph(name) == started
    assert len({node["name"] for node in started}) == len(started)


@pytest.mark.parametrize("name", STACKS)
def test_every_arm_of_a_stack_has_a_namespace_and_the_address_that_was_chosen(name: str, tmp_path: Path) -> None:
    arms = {
        node["name"]: node["parameters"]["robot_address"]
        for node in runner_graph(name, tmp_path)
        if node["program"] == ("d2ppo_nodes", "arm_node")
    }
    addresses = {key: value for key, value in CHOSEN[name].items() if key.endswith("address")}
    wanted = {f"/{key.partition('_')[0]}/arm".replace("robot", "panda"): value for key, value in addresses.items()}
    assert arms == wanted


@pytest.mark.parametrize("name", [name for name in STACKS if "transport" in name])
def test_two_arms_share_one_emergency_stop_and_one_coordinator(name: str, tmp_path: Path) -> None:
    nodes = runner_graph(name, tmp_path)
    arms = [node for node in nodes if node["program"][1] == "arm_node"]
    assert len(arms) == 2 and all(("estop", "/pair/estop") in arm["remappings"] for arm in arms)
    (coordinator,) = (node for node in nodes if node["program"][1] == "coordinator_node")
    assert coordinator["name"] == "/pair/coordinator"
    assert coordinator["parameters"]["arms"].split(",") == [arm["name"].split("/")[1] for arm in arms]
    prefixes = {arm["parameters"]["prefix"] for arm in arms}
    assert prefixes == {"left_", "right_"}, "joints and frames of two arms have names of their own"


@pytest.mark.parametrize("name", STACKS)
def test_the_command_lines_of_the_runner_name_existing_programs(name: str, tmp_path: Path) -> None:
    for node in runner_graph(name, tmp_path):
        package, executable = node["program"]
        assert (SOURCES / package / package / f"{executable}.py").is_file()


@pytest.mark.parametrize("name", STACKS)
def test_every_argument_of_a_stack_is_documented_in_its_launch_file(name: str) -> None:
    tree = ast.parse((LAUNCH / f"{name}.launch.py").read_text())
    documented = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "ARGUMENTS"
    )
    assert list(documented) == list(load_stack(name).arguments), "namespace, which every stack has, stands once for all"
    assert all(text.endswith(".") for text in documented.values())
    described = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args[:1]]
    assert any(isinstance(call.args[0], ast.Constant) and call.args[0].value == name for call in described)


def test_the_launch_folder_is_no_package_because_it_would_shadow_the_one_of_ros() -> None:
    assert not (LAUNCH / "__init__.py").exists()
    assert all(len(path.read_text().splitlines()) <= 100 for path in LAUNCH.glob("*.py"))


@pytest.mark.parametrize("name", STACKS)
def test_a_chosen_namespace_reaches_every_node_and_every_remapping(name: str, tmp_path: Path) -> None:
    chosen = {"namespace": "lab"} | (
        {"left_namespace": "lab_left", "right_namespace": "lab_right"} if "transport" in name else {}
    )
    stack = load_stack(name, CHOSEN[name] | chosen)
    nodes = [parsed(node_command(node, stack.namespace, tmp_path / f"{node.name}.yaml")) for node in stack.nodes]
    spaces = {node["name"].split("/")[1] for node in nodes}
    assert spaces == set(chosen.values())
    absolute = [target for node in nodes for _, target in node["remappings"] if target.startswith("/")]
    assert all(target.split("/")[1] in chosen.values() for target in absolute)


def run_launch(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run real launch in a process of its own on what ``code`` leaves in ``description``."""
    program = f"""
        import runpy, sys
        from launch import LaunchDescription, LaunchService
        from launch.actions import ExecuteProcess, OpaqueFunction
        sys.path.insert(0, {str(LAUNCH)!r})
        import stack_launch
        {code}
        service = LaunchService(argv=[])
        service.include_launch_description(description)
        sys.exit(service.run())
    """
    lines = [line[8:] for line in program.splitlines()]
    command = [sys.executable, "-c", "\n".join(lines)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, **environment})


@pytest.mark.launch_ros
@pytest.mark.parametrize(("code", "wanted"), [(3, 1), (0, 0)])
def test_the_failure_of_a_required_node_is_the_exit_code_of_the_launch(code: int, wanted: int) -> None:
    done = run_launch(
        f"""description = LaunchDescription([
            ExecuteProcess(cmd=["sleep", "60"]),
            ExecuteProcess(cmd=["sh", "-c", "sleep 0.5; exit {code}"],
                           on_exit=stack_launch.TakesTheLaunchDown("arm")),
        ])"""
    )
    assert done.returncode == wanted, done.stderr
    assert ("arm ended with exit code 3" in done.stderr + done.stdout) == (code == 3)


@pytest.mark.launch_ros
def test_launch_leaves_what_the_caller_set_in_the_environment(tmp_path: Path) -> None:
    script = """description = runpy.run_path(f"{sys.path[0]}/sim.launch.py")["generate_launch_description"]()
        description.entities[-1] = ExecuteProcess(cmd=["env"], output="screen")"""
    own = {"OMP_NUM_THREADS": "4", "MUJOCO_GL": "osmesa", "FASTRTPS_DEFAULT_PROFILES_FILE": "/tmp/mine.xml"}
    done = run_launch(script, **own, ROS_AUTOMATIC_DISCOVERY_RANGE="SUBNET")
    seen = dict(line.split("] ", 1)[-1].partition("=")[::2] for line in done.stdout.splitlines() if "=" in line)
    assert {key: seen.get(key) for key in own} == own, done.stdout + done.stderr
    assert seen["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "SUBNET" and seen["PYTHONUNBUFFERED"] == "1"


@pytest.mark.launch_ros
def test_a_wrong_argument_is_one_line_and_exit_code_1() -> None:
    done = run_launch(
        """description = runpy.run_path(f"{sys.path[0]}/sim.launch.py")["generate_launch_description"]()
        from launch.actions import SetLaunchConfiguration
        description.entities.insert(0, SetLaunchConfiguration("real_time", "maybe"))"""
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "argument real_time must be true or false, got 'maybe'" in done.stderr + done.stdout
