"""Both ways to run a stack, ``ros2 launch`` and ``d2ppo up``, start the same graph."""

import ast
import importlib.util
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
    "real": {"robot_address": "10.0.0.1"},
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
        for action in actions if isinstance(entity, OpaqueFunction) else []:
            assert isinstance(action, Node)
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
    assert list(documented) == list(load_stack(name).arguments)
    assert all(text.endswith(".") for text in documented.values())
    described = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args[:1]]
    assert any(isinstance(call.args[0], ast.Constant) and call.args[0].value == name for call in described)


def test_the_launch_folder_is_no_package_because_it_would_shadow_the_one_of_ros() -> None:
    assert not (LAUNCH / "__init__.py").exists()
    assert all(len(path.read_text().splitlines()) <= 100 for path in LAUNCH.glob("*.py"))
