"""``d2ppo arm …``: what an operator does with an arm of a running stack."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from d2ppo_core.errors import RobotError
from d2ppo_core.stack.environment import MAX_DOMAIN_ID
from d2ppo_interfaces.action import Grasp, Homing, Move
from d2ppo_interfaces.msg import ArmState
from d2ppo_interfaces.srv import GoTo
from d2ppo_nodes.operator import Operator, Target

_HOME = "home"
_OPEN_M = 0.08
_MODES = {
    getattr(ArmState, name): name
    for name in ("IDLE", "READY", "RUNNING", "HOLDING", "REFLEX", "USER_STOPPED", "ESTOPPED", "DISCONNECTED")
}
_HAND = {
    ArmState.GRIPPER_NONE: "hand",
    ArmState.GRIPPER_MOVING: "hand moves,",
    ArmState.GRIPPER_REACHED: "hand",
    ArmState.GRIPPER_GRASPED: "hand holds something,",
    ArmState.GRIPPER_MISSED: "hand missed,",
    ArmState.GRIPPER_FAILED: "hand failed,",
}


def options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that every verb of the arm has."""
    for option in (
        click.option("--timeout", default=60.0, show_default=True, type=click.FloatRange(0.1), help="Seconds to wait."),
        click.option("--domain-id", type=click.IntRange(0, MAX_DOMAIN_ID), help="ROS domain of the stack."),
        click.option("--namespace", help="Which arm, or pair; needed only where several are."),
    ):
        command = option(command)
    return command


@contextmanager
def operating(namespace: str | None, domain_id: int | None, timeout: float) -> Iterator[tuple[Operator, Target]]:
    """Find who is meant and hear it; a refusal is one line on stderr and exit code 1."""
    with Operator(domain_id, timeout) as operator:
        target = operator.find(namespace)
        try:
            operator.watch(target)
            yield operator, target
        except RobotError as error:
            click.echo(f"d2ppo: {target.namespace}: {error}", err=True)
            sys.exit(1)


@click.group()
def arm() -> None:
    """Operate the arm of a running stack.

    Home, start, stop, recover, gripper …

    Every verb answers in one line. Exit code 0: done; 1: the arm refused, and says why; 2: wrong usage or no such arm.
    """


@arm.command()
@options
def home(**where: Any) -> None:
    """Go home slowly and open the gripper.

    Returns when the arm is there.
    """
    with operating(**where) as (operator, target):
        operator.trigger(target.service("home"))
        click.echo(_arrival(operator, target, _HOME))


@arm.command("go-to")
@click.argument("pose")
@options
def go_to(pose: str, **where: Any) -> None:
    """Go to a named POSE slowly.

    One of the arm node's parameter poses; returns when the arm is there.
    """
    with operating(**where) as (operator, target):
        _refuse_pair(target)
        operator.call(GoTo, target.service("go_to"), GoTo.Request(name=pose))
        click.echo(_arrival(operator, target, pose))


@arm.command()
@options
def start(**where: Any) -> None:
    """Let chunks of the policy move the arm."""
    _trigger("start", where)


@arm.command()
@options
def stop(**where: Any) -> None:
    """Come to rest and hold."""
    _trigger("stop", where)


@arm.command()
@options
def recover(**where: Any) -> None:
    """Clear a reflex or connect anew; home comes next."""
    _trigger("recover", where)


@arm.command()
@options
def clear(**where: Any) -> None:
    """Clear the emergency stop; home comes next."""
    _trigger("clear_estop", where)


@arm.command()
@options
def estop(**where: Any) -> None:
    """Stop now and stay stopped until clear. The robot's own button is the emergency stop; this one is software."""
    with operating(**where) as (operator, target):
        operator.press(target)
        click.echo(f"{target.namespace}: emergency stop; d2ppo arm clear ends it")


@arm.command()
@options
def status(**where: Any) -> None:
    """Say how each arm is, one line per arm."""
    with operating(**where) as (operator, target):
        for name in target.arms:
            click.echo(_line(name, operator.states[name]))


@arm.group()
def gripper() -> None:
    """Open, close, move or calibrate the hand.

    Refused while the arm follows a policy.
    """


@gripper.command("open")
@options
def open_hand(**where: Any) -> None:
    """Open the fingers wide."""
    _act(Move, "move", Move.Goal(width=_OPEN_M), where)


@gripper.command()
@click.argument("width_m", type=click.FloatRange(0.0, _OPEN_M))
@options
def move(width_m: float, **where: Any) -> None:
    """Move the fingers to WIDTH_M, their distance in metres."""
    _act(Move, "move", Move.Goal(width=width_m), where)


@gripper.command()
@click.option("--force", default=0.0, type=click.FloatRange(0.0, 70.0), help="Newton  [default: the arm node's].")
@options
def close(force: float, **where: Any) -> None:
    """Close around whatever is there and hold it with force.

    Closing on nothing is a failure.
    """
    goal = Grasp.Goal(force=force)
    goal.epsilon.inner, goal.epsilon.outer = 0.01, _OPEN_M + 0.01
    _act(Grasp, "grasp", goal, where)


@gripper.command("home")
@options
def calibrate(**where: Any) -> None:
    """Calibrate the fingers: they close and open once. Take everything out from between them."""
    _act(Homing, "homing", Homing.Goal(), where)


def _trigger(service: str, where: dict[str, Any]) -> None:
    with operating(**where) as (operator, target):
        click.echo(f"{target.namespace}: {operator.trigger(target.service(service))}")


def _act(kind: Any, action: str, goal: Any, where: dict[str, Any]) -> None:
    with operating(**where) as (operator, target):
        _refuse_pair(target)
        operator.act(kind, f"/{target.namespace}/franka_gripper/{action}", goal)
        operator.pause()
        state = operator.states[target.namespace]
        click.echo(f"{target.namespace}: {_HAND[state.gripper_outcome]} {1e3 * state.gripper_width_m:.0f} mm open")


def _refuse_pair(target: Target) -> None:
    if target.is_pair:
        raise click.UsageError(f"say which arm with --namespace: {' or '.join(target.arms)}")


def _arrival(operator: Operator, target: Target, pose: str) -> str:
    """Wait until the arms have gone to a pose, and say so; RobotError when one ended elsewhere."""
    operator.wait(lambda: all(operator.states[arm].reason == f"at {pose}" for arm in target.arms) or _broken(operator))
    for name in target.arms:
        state = operator.states[name]
        if state.reason != f"at {pose}":
            late = " (still on the way)" if state.state == ArmState.IDLE and not _broken(operator) else ""
            raise RobotError(f"{name} is {_MODES[state.state]}: {state.reason}{late}")
    return f"{target.namespace}: READY: at {pose}"


def _broken(operator: Operator) -> bool:
    ends = (ArmState.REFLEX, ArmState.USER_STOPPED, ArmState.ESTOPPED, ArmState.DISCONNECTED)
    return any(state.state in ends or "aborted" in state.reason for state in operator.states.values())


def _line(name: str, state: ArmState) -> str:
    hand = f"{_HAND[state.gripper_outcome]} {1e3 * state.gripper_width_m:.0f} mm open"
    speed = f"speed {100 * state.speed_scale:.0f} %"
    missed = f"missed ticks {state.missed_ticks} of {state.ticks}"
    chunks = f"chunks {state.chunks_accepted}, refused {state.chunks_refused}"
    return f"{name}: {_MODES[state.state]}: {state.reason}; {hand}; {speed}; {chunks}; {missed}"
