"""``d2ppo up``: run a stack until Ctrl-C."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from typing import Any

import click
import yaml

from d2ppo_core.errors import ConfigError, StackError
from d2ppo_core.stack.loader import load_stack
from d2ppo_core.stack.runner import Stack


def parse_settings(settings: tuple[str, ...]) -> dict[str, Any]:
    """Return ``key=value`` texts as a mapping, values read as YAML.

    Raises:
        ConfigError: a text has no ``=`` or a value is not YAML.
    """
    parsed: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set wants key=value, got {setting!r}")
        try:
            parsed[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ConfigError(f"--set {key}: {value!r} is not a YAML value") from None
    return parsed


@click.command()
@click.argument("stack")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Argument or node.parameter; repeatable.")
@click.option("--domain-id", type=int, help="ROS_DOMAIN_ID of the nodes.")
@click.option("--log", "log_file", type=click.Path(dir_okay=False, path_type=Path), help="Also write the log here.")
def up(stack: str, settings: tuple[str, ...], domain_id: int | None, log_file: Path | None) -> None:
    """Run the nodes of STACK (a name such as sim, or a stack file) until Ctrl-C.

    All nodes write one log. When a required node dies, the others are stopped and the exit code is 1; so it is when a
    node does not end cleanly.
    """
    description = load_stack(stack, parse_settings(settings))
    running = Stack(description, domain_id=domain_id, log_file=log_file, console=sys.stderr)
    asked = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: asked.set())
    try:
        with running:
            while not asked.is_set():
                running.wait(timeout_s=0.1)
        if running.faults:
            raise StackError("; ".join(running.faults))
        click.echo(f"d2ppo: stack {description.name} stopped", err=True)
    except StackError as error:
        click.echo(f"d2ppo: stack {description.name} stopped: {error}", err=True)
        sys.exit(1)
