"""Writes docs/reference/topics.md from the nodes themselves: ``python tools/topics_page.py``.

Each node is configured as in a stack, beside an ideal robot on loopback, and the graph is asked what it publishes,
hears and offers. What that is for stands in topics.yaml, or in the interface file of the type.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import rclpy
import yaml
from rclpy.action import get_action_server_names_and_types_by_node
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from d2ppo_nodes.arm_node import ArmNode
from d2ppo_nodes.camera_node import CameraNode
from d2ppo_nodes.coordinator_node import CoordinatorNode
from d2ppo_nodes.lifecycle import StackNode
from d2ppo_nodes.marker_node import MarkerNode
from d2ppo_nodes.policy_node import PolicyNode
from d2ppo_nodes.recorder_node import RecorderNode
from d2ppo_nodes.sim_node import SimNode
from d2ppo_nodes.teleop_node import TeleopNode

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/reference/topics.md"
MEANINGS = ROOT / "tools/topics.yaml"
INTERFACES = ROOT / "ros2_ws/src/d2ppo_interfaces"
NODES = (SimNode, CameraNode, MarkerNode, PolicyNode, ArmNode, CoordinatorNode, TeleopNode, RecorderNode)
SPACE = "/panda"
CHOSEN = {"/left/": "/<arm>/", "/right/": "/<arm>/", "camera/wrist/": "camera/<camera>/",
          "camera/scene/": "camera/<camera>/", "camera/robot0_eye_in_hand/": "camera/<camera>/"}  # fmt: skip
"""What a user chooses, in the names as they are here."""
EVERY = "every node"
SECTIONS = {"publishes": "Publishes", "listens": "Listens to", "services": "Services", "actions": "Actions",
            "calls": "Calls"}  # fmt: skip
HEAD = """# Topics, services and actions

Made from the nodes themselves by `tools/topics_page.py`; do not edit. Names are relative to the namespace of the stack:
`arm/state` is `/panda/arm/state` in `d2ppo up sim`; `~` is the node's own name. Quality of service: reliability,
*latched* where who joins late gets the newest message, and how many messages are kept.

A subscription that asks for more than a publisher offers hears nothing, so what publishes here offers all, and what
listens asks for as little as it can. What a stack renames (`remappings` in its file) has another name there.
"""
Row = tuple[str, str, str]
"""Name, type and quality of service, which is "" for services and actions."""
Found = dict[str, set[Row]]
"""By section."""


@contextmanager
def robot(address: str) -> Iterator[None]:
    """Serve an ideal robot; the arm node waits until it answers."""
    command = [sys.executable, "-m", "d2ppo_core.cli.main", "fci-server", "--address", address]
    process = subprocess.Popen([*command, "--backend", "kinematic"], stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)


def parameters(robot_address: str, world_address: str) -> dict[str, dict[str, str]]:
    """Return by node what has to be set as a stack does."""
    camera = {"camera": "robot0_eye_in_hand", "robot_address": world_address, "jpeg_quality": "90"}
    arm = {"robot_address": robot_address, "connect_timeout_s": "60.0", "partners": "right"}
    hand = {"device": "gamepad", "device_path": "/dev/null"}
    marker = {"task": "lift"}
    recorder = {"folder": tempfile.mkdtemp()}
    of_world = {"sim": {"robot_address": world_address}, "camera": camera, "marker": marker}
    return {**of_world, "arm": arm, "teleop": hand, "recorder": recorder}


def ask(node_class: type[StackNode], parameters: Mapping[str, str]) -> Found:
    """Configure a node and return what the graph says of it; full names."""
    given = [part for name, value in parameters.items() for part in ("-p", f"{name}:={value}")]
    rclpy.init(args=["--ros-args", "-r", f"__ns:={SPACE}", "-p", "use_sim_time:=true", *given])
    node = node_class()
    try:
        if node.trigger_configure() != TransitionCallbackReturn.SUCCESS:
            raise click.ClickException(f"node {node.called} could not be configured, see above")
        return settled(lambda: look(node))
    finally:
        node.trigger_shutdown()
        node.destroy_node()
        rclpy.shutdown()


def look(node: StackNode) -> Found:
    """Return what the graph knows of a node at this moment."""
    who = (node.called, SPACE)

    def topics(named: list[Any], infos: Callable[[str], list[Any]], made: Iterator[Any]) -> set[Row]:
        profiles = {entity.topic_name: entity.qos_profile for entity in made}
        return {
            (name, types[0], quality(profiles.get(name, info.qos_profile)))
            for name, types in named
            for info in infos(name)
            if info.node_name == node.called
        }

    published, heard = node.get_publisher_names_and_types_by_node, node.get_subscriber_names_and_types_by_node
    return {
        "publishes": topics(published(*who), node.get_publishers_info_by_topic, node.publishers),
        "listens": topics(heard(*who), node.get_subscriptions_info_by_topic, node.subscriptions),
        "services": {(name, types[0], "") for name, types in node.get_service_names_and_types_by_node(*who)},
        "actions": {(name, types[0], "") for name, types in get_action_server_names_and_types_by_node(node, *who)},
        "calls": {(name, types[0], "") for name, types in node.get_client_names_and_types_by_node(*who)},
    }


def settled(look: Callable[[], Found], still_s: float = 0.5) -> Found:
    """Return what is seen once it has been the same for a while: the graph hears of a node a moment later."""
    seen, since_s = look(), time.monotonic()
    while time.monotonic() < since_s + still_s:
        time.sleep(0.05)
        if (now := look()) != seen:
            seen, since_s = now, time.monotonic()
    return {section: {row for row in rows if "/_action/" not in row[0]} for section, rows in seen.items()}


def quality(profile: QoSProfile) -> str:
    """Return a quality of service in words; the graph alone does not know how many messages are kept."""
    words = ["reliable" if profile.reliability == ReliabilityPolicy.RELIABLE else "best effort"]
    if profile.durability == DurabilityPolicy.TRANSIENT_LOCAL:
        words.append("latched")
    return ", ".join(words + ([f"newest {profile.depth}"] if profile.depth else []))


def split(found: Mapping[str, Found]) -> dict[str, Found]:
    """Return what each node has of its own, and what every one has, under the names of the page."""

    def own(node: str, row: Row) -> Row:
        return (row[0].replace(f"{SPACE}/{node}/", "~/"), *row[1:])

    every = {
        section: set.intersection(*({own(node, row) for row in rows[section]} for node, rows in found.items()))
        for section in SECTIONS
    }
    rest = {
        node: {
            section: {(short(row[0]), *row[1:]) for row in rows[section] if own(node, row) not in every[section]}
            for section in SECTIONS
        }
        for node, rows in found.items()
    }
    return {**rest, EVERY: every}


def short(name: str) -> str:
    """Return a name relative to the stack's namespace, with words for what a user chooses."""
    for chosen, word in CHOSEN.items():
        name = name.replace(chosen, word)
    return name.removeprefix(f"{SPACE}/")


def interface(kind: str) -> str | None:
    """Return the text of an interface file of this project; None of others."""
    package, folder, name = kind.split("/")
    if package != INTERFACES.name:
        return None
    text = (INTERFACES / folder / f"{name}.{folder}").read_text(encoding="utf-8")
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def meaning(meanings: Mapping[str, Mapping[str, Mapping[str, str]]], node: str, section: str, row: Row) -> str:
    """Return what is known of a row; ClickException where nobody has said anything."""
    said = meanings[node].get(section, {}).get(row[0])
    if said is None and (text := interface(row[1])) is not None:
        said = " ".join(
            line.removeprefix("#").strip() for line in text.split("\n\n")[0].splitlines() if line[:1] == "#"
        )
        said = (said[:1].lower() + said[1:]).removesuffix(".")
    if not said:
        raise click.ClickException(f"{MEANINGS.name} does not say what {row[0]} is for: {node}, {section}")
    return said


def page(tables: Mapping[str, Found]) -> str:
    """Return the whole page; ClickException where topics.yaml tells of something that is not there."""
    meanings = yaml.safe_load(MEANINGS.read_text(encoding="utf-8"))
    told = {
        (node, section, name) for node, parts in meanings.items() for section, rows in parts.items() for name in rows
    }
    there = {
        (node, section, row[0]) for node, parts in tables.items() for section, rows in parts.items() for row in rows
    }
    if gone := sorted(told - there):
        raise click.ClickException(f"{MEANINGS.name} tells of what no node has: {gone}")
    parts = [HEAD]
    for node, sections in tables.items():
        parts.append(f"## {'Every node' if node == EVERY else node}\n")
        for section, rows in sections.items():
            if rows:
                parts += [table(SECTIONS[section], rows, lambda row: meaning(meanings, node, section, row))]  # noqa: B023
    parts.append("## Types\n\nThose of this project, as they are defined; lengths in m, times on the stack's clock.\n")
    for file in sorted(path for folder in ("msg", "srv", "action") for path in (INTERFACES / folder).iterdir()):
        kind = f"{INTERFACES.name}/{file.parent.name}/{file.stem}"
        parts.append(f"### {file.stem}\n\n`{kind}`\n\n```text\n{interface(kind)}\n```\n")
    return "\n".join(parts)


def table(title: str, rows: set[Row], what: Callable[[Row], str]) -> str:
    """Return one table of Markdown."""
    with_quality = any(row[2] for row in rows)
    heads = ["name", "type", "quality of service", "what"] if with_quality else ["name", "type", "what"]
    lines = [f"**{title}**\n", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in sorted(rows):
        word = row[1].rpartition("/")[2]
        kind = f"[{word}](#{word.lower()})" if interface(row[1]) else row[1]
        cells = [f"`{row[0]}`", kind, *([row[2]] if with_quality else []), what(row)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


@click.command()
@click.option("--addresses", nargs=2, default=("127.0.0.1", "127.0.0.2"), help="Free ones, of a robot and a world.")
@click.option("--show", is_flag=True, help="Print the page and write nothing.")
def main(addresses: tuple[str, str], show: bool) -> None:
    """Ask the nodes and write the page."""
    given = parameters(*addresses)
    with robot(addresses[0]):
        found = {node_class.called: ask(node_class, given.get(node_class.called, {})) for node_class in NODES}
    text = page(split(found))
    if show:
        click.echo(text, nl=False)
    else:
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
