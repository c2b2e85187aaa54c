"""Writes docs/reference/compatibility.md from its data: ``python tools/compatibility_page.py``."""

import re
import tomllib
from pathlib import Path
from typing import Any

from d2ppo_core.compatibility import FRANKA_RS, FRANKY, Server, client_named, newest_server, servers
from sim.fci.limits import SPOKEN

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/reference/compatibility.md"
NAMES = {"panda": "Panda (FER)", "fr3": "FR3"}
SOFTWARE = {
    "numpy": "arrays",
    "onnxruntime": "runs bundles on the robot's computer",
    "rclpy": "ROS 2 Jazzy, as wheels; or `ros-jazzy-ros-base` from apt",
    "mujoco": "the simulated world",
    "torch": "training",
    "ray": "worlds on many machines",
    "pyrealsense2": "RealSense cameras",
}
HEAD = """# What fits what

Made from `d2ppo_core/compatibility.yaml` and `pyproject.toml` by `tools/compatibility_page.py`; do not edit.

## Robots

A robot speaks one version of the Franka Control Interface, and its client must speak the same. How to install, check
and undo a client: [which client drives which robot](../lab/robot_client.md). The hand's version is 3 in all of them.

| robot | system | server version | libfranka | franky | franka_rs | simulated |
|---|---|---|---|---|---|---|
"""
CLIENTS = """
`system`: the oldest that speaks the version; Desk shows it under Settings → System. `franky`: PyPI's wheel, installed
by the set-up, or the command that gets another one. `simulated`: the simulator has a robot server of this version.

## Clients

| name | package | imports as | server versions of the wheel |
|---|---|---|---|
"""
VERSIONS = """
## Software

Exact versions: each was installed together with all the others and tested. Python {python}.

| package | version | extra | what for |
|---|---|---|---|
"""


def row(server: Server) -> str:
    """Return the line of one server version."""
    oldest, newest = server.libfranka
    command = f"d2ppo doctor --fix-client {server.robot}"
    if server != newest_server(server.robot):
        command += f" --server-version {server.server}"
    cells = (
        NAMES[server.robot],
        f"≥ {server.system}",
        str(server.server),
        oldest if oldest == newest else f"{oldest} … {newest}",
        "PyPI's wheel" if server.server in client_named(FRANKY).servers else f"`{command}`",
        "yes" if server.server in client_named(FRANKA_RS).servers else "",
        "yes" if server.server in SPOKEN.values() else "",
    )
    return f"| {' | '.join(cells)} |"


def client_row(name: str) -> str:
    """Return the line of one client."""
    client = client_named(name)
    spoken = ", ".join(str(server) for server in client.servers)
    return f"| `{name}` | {client.package} {client.version} | `{client.imports}` | {spoken} |"


def software_rows(project: dict[str, Any]) -> list[str]:
    """Return a line for each package of SOFTWARE, with its version and the first extra that has it."""
    extras = {"": project["dependencies"], **project["optional-dependencies"]}
    pins: dict[str, tuple[str, str]] = {}
    for extra, requirements in extras.items():
        for requirement in requirements:
            name, version = re.match(r"(?:ros-(?:jazzy-)?)?([\w.-]+)(?:\[\w+\])?==(\S+)", requirement).groups()
            pins.setdefault(name, (version, extra))
    return [f"| {name} | {pins[name][0]} | {pins[name][1]} | {what} |" for name, what in SOFTWARE.items()]


def page() -> str:
    """Return the whole page."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    parts = [HEAD, *(f"{row(server)}\n" for server in servers()), CLIENTS]
    parts += [f"{client_row(name)}\n" for name in (FRANKY, FRANKA_RS)]
    parts += [VERSIONS.format(python=project["requires-python"]), *(f"{line}\n" for line in software_rows(project))]
    return "".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
