"""``d2ppo record …``: begin, end and judge episodes of a running stack's recorder."""

import sys
from typing import Any

import click

from d2ppo_core.errors import RobotError, StackError
from d2ppo_core.stack.environment import MAX_DOMAIN_ID
from d2ppo_interfaces.msg import RecordStatus
from d2ppo_nodes.operator import Operator
from d2ppo_nodes.qos import LATCHED

_STATES = {RecordStatus.IDLE: "idle", RecordStatus.RECORDING: "recording", RecordStatus.FAILED: "failed"}
_TYPE = "d2ppo_interfaces/msg/RecordStatus"
_TOPIC = "/record/status"
_MIB = 2**20


@click.group()
def record() -> None:
    """Begin, end and judge the episodes of a recorder.

    The recorder is part of the stack: `d2ppo up sim --set record=FOLDER`. Every verb answers in one line. Exit code 0:
    done; 1: the recorder refused, and says why; 2: wrong usage or no recorder.
    """


def _options(command: Any) -> Any:
    for option in (
        click.option("--timeout", default=20.0, show_default=True, type=click.FloatRange(0.1), help="Seconds to wait."),
        click.option("--domain-id", type=click.IntRange(0, MAX_DOMAIN_ID), help="ROS domain of the stack."),
        click.option("--namespace", help="Which recorder; needed only where several are."),
    ):
        command = option(command)
    return command


def _verb(name: str, text: str) -> None:
    @record.command(name, help=text)
    @_options
    def call(namespace: str | None, domain_id: int | None, timeout: float) -> None:
        with Operator(domain_id, timeout) as operator:
            space = _find(operator, namespace)
            try:
                click.echo(operator.trigger(f"{space}/record/{name}"))
            except RobotError as error:
                click.echo(f"d2ppo: {error}", err=True)
                sys.exit(1)


_verb("start", "Begin an episode.")
_verb("stop", "End the episode without a verdict; one may follow.")
_verb("success", "End the episode, or judge the newest one, as a success.")
_verb("failure", "End the episode, or judge the newest one, as a failure.")
_verb("discard", "End the episode, or judge the newest one: nobody trains on it.")


@record.command()
@_options
def status(namespace: str | None, domain_id: int | None, timeout: float) -> None:
    """Say what the recorder does."""
    heard: list[RecordStatus] = []
    with Operator(domain_id, timeout) as operator:
        space = _find(operator, namespace)
        operator.node.create_subscription(RecordStatus, f"{space}{_TOPIC}", heard.append, LATCHED)
        if not operator.wait(lambda: heard):
            raise StackError(f"the recorder of {space} says nothing")
    found = heard[-1]
    parts = [f"{_STATES[found.state]}, {found.episodes} episodes in {found.folder}"]
    if found.episode:
        outcome = f" {found.outcome}" if found.outcome else ""
        parts.append(
            f"{found.episode}:{outcome} {found.duration_s:.1f} s, {found.messages} messages, {found.lost} lost"
        )
    parts.append(f"{found.free_bytes / _MIB:.0f} MiB free")
    parts += [found.reason] if found.reason else []
    click.echo("; ".join(parts))


def _find(operator: Operator, namespace: str | None) -> str:
    """Namespace of the recorder that is meant, with its slash."""
    wanted = f"/{namespace.strip('/')}" if namespace is not None else None

    def spaces() -> list[str]:
        known = operator.node.get_topic_names_and_types()
        found = [name.removesuffix(_TOPIC) for name, kinds in known if name.endswith(_TOPIC) and _TYPE in kinds]
        return [one for one in found if wanted in (None, one) and operator.node.count_publishers(f"{one}{_TOPIC}")]

    operator.wait(spaces)
    operator.pause()
    found = spaces()
    if not found:
        raise StackError("no recorder answers; start the stack with one: d2ppo up sim --set record=FOLDER")
    if len(found) > 1:
        raise StackError(f"several recorders answer: {', '.join(found)}; say which one with --namespace")
    return found[0]
