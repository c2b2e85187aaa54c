"""``d2ppo doctor``: is this machine ready to run a stack?"""

from __future__ import annotations

import sys

import click

from d2ppo_core.cli.up import parse_settings
from d2ppo_core.doctor.client import fix_client
from d2ppo_core.doctor.examination import examine
from d2ppo_core.doctor.finding import Status
from d2ppo_core.errors import ConfigError
from d2ppo_core.runtime.safety.robots import ROBOTS
from d2ppo_core.stack.loader import load_stack
from d2ppo_core.stack.ros_packages import build_ros_packages

COLOURS = {Status.OK: "green", Status.WARN: "yellow", Status.FAIL: "red"}


@click.command()
@click.option("--stack", default="sim", show_default=True, help="The stack to get ready for.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Argument of the stack; repeatable.")
@click.option("--fix-client", "robot", type=click.Choice(list(ROBOTS)), help="Install the franky for this robot, only.")
@click.option("--server-version", type=int, help="With --fix-client: of a robot whose system is older.")
@click.option("--fix-ros", is_flag=True, help="Build the ROS packages into this environment, only.")
@click.option("--index", default="", metavar="URL|FOLDER", help="With --fix-client: where to take the wheel from.")
def doctor(
    stack: str,
    settings: tuple[str, ...],
    robot: str | None,
    server_version: int | None,
    fix_ros: bool,
    index: str,
) -> None:
    """Check everything that a stack needs.

    Exits with 1 and the list of what fails.
    """
    if robot is not None and fix_ros:
        raise ConfigError("wanted --fix-ros or --fix-client, one after the other, got both")
    if robot is not None or fix_ros:
        for line in build_ros_packages() if robot is None else fix_client(robot, server_version, index):
            click.echo(line)
        return
    if server_version is not None or index:
        raise ConfigError("--server-version and --index go with --fix-client panda or --fix-client fr3")
    failures = []
    for finding in examine(load_stack(stack, parse_settings(settings))):
        mark = click.style(f"{finding.status.value:4}", fg=COLOURS[finding.status])
        click.echo(f"{mark}  {finding.name:16}  {finding.text}")
        if finding.status is Status.FAIL:
            failures.append(finding.name)
    if failures:
        click.echo(f"d2ppo: not ready for stack {stack}: {', '.join(failures)}", err=True)
        sys.exit(1)
