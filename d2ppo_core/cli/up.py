"""``d2ppo up``: run a stack until Ctrl-C."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

import click

from d2ppo_core.errors import ConfigError, StackError
from d2ppo_core.stack.loader import load_stack
from d2ppo_core.stack.runner import Stack


def parse_settings(settings: tuple[str, ...]) -> dict[str, str]:
    """Return ``key=value`` texts as a mapping; what a value is decides the argument or parameter that it is for.

    Raises:
        ConfigError: a text has no ``=``.
    """
    parsed: dict[str, str] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set wants key=value, got {setting!r}")
        parsed[key] = value
    return parsed


@click.command()
@click.argument("stack")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Argument or node.parameter; repeatable.")
@click.option("--namespace", help="Namespace of the nodes instead of the stack's own.")
@click.option("--domain-id", type=int, help="ROS_DOMAIN_ID of the nodes.")
@click.option("--log", "log_file", type=click.Path(dir_okay=False, path_type=Path), help="Also write the log here.")
def up(
    stack: str, settings: tuple[str, ...], namespace: str | None, domain_id: int | None, log_file: Path | None
) -> None:
    """Run the nodes of STACK until Ctrl-C.

    STACK is a name such as sim, or a stack file.

    All nodes write one log. Arguments and parameters are checked before anything starts. When a required node dies,
    the others are stopped and the exit code is 1; so it is when a node does not end cleanly.
    """
    chosen = parse_settings(settings) | ({"namespace": namespace} if namespace is not None else {})
    description = load_stack(stack, chosen)
    running = Stack(description, domain_id=domain_id, log_file=log_file, console=sys.stderr)
    asked = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup asked to be left alone
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
